"""A codebase of the CoOp family: what makes it one, and what is asked of it before anything is written."""

import subprocess
from pathlib import Path
from typing import NamedTuple

from modprompt.errors import UserError
from modprompt.hosts import ship
from modprompt.hosts.manifest import MANIFEST
from modprompt.hosts.train_line import STATEMENT
from modprompt.places import PACKAGE

BY_HAND = """{folder} does not look like a codebase of the CoOp family ({reason}). By hand:
  1. copy {package} to {folder}/modprompt
  2. in the program that calls dassl's build_trainer, behind its imports of trainers: {statement}
  3. start it with --trainer MPL and a config file of {configs}
or change nothing: python -m modprompt.launch PROGRAM --trainer MPL ..."""


class Host(NamedTuple):
    """A codebase: its folder, the bytes of its train.py, and whether it has a trainer MPL of its own."""

    folder: Path
    program: bytes
    has_mpl: bool

    @property
    def trainer(self) -> str:
        """Name of our trainer in it: its own MPL keeps that name."""
        return "ModMPL" if self.has_mpl else "MPL"


def starts_trainers(program: bytes) -> bool:
    """Whether a program is one of the family: it calls Dassl's build_trainer."""
    return b"dassl" in program and b"build_trainer" in program


def read_host(folder: Path) -> Host:
    """The codebase in a folder.

    Raises:
        UserError: if there is none; it says what to do by hand.
    """
    if (folder / "modprompt").resolve() == PACKAGE and not (folder / MANIFEST).is_file():
        raise UserError(f"{folder} is modprompt itself, which has MPL")
    if not folder.is_dir():
        raise _unknown(folder, "there is no such folder")
    program = folder / "train.py"
    if not program.is_file():
        raise _unknown(folder, "it has no train.py")
    content = program.read_bytes()
    if not starts_trainers(content):
        raise _unknown(folder, "its train.py does not call dassl's build_trainer")
    return Host(folder, content, (folder / "trainers" / "mpl.py").is_file())


def _unknown(folder: Path, reason: str) -> UserError:
    configs = ship.configs_folder()
    return UserError(
        BY_HAND.format(folder=folder, reason=reason, package=PACKAGE, statement=STATEMENT, configs=configs)
    )


def is_uncommitted(folder: Path) -> bool:
    """Whether git knows changes of train.py that are not committed."""
    git = ["git", "-C", str(folder), "status", "--porcelain", "--", "train.py"]
    try:
        done = subprocess.run(git, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False)
    except OSError:  # no git
        return False
    state = done.stdout.decode(errors="replace").strip()
    return done.returncode == 0 and bool(state) and not state.startswith("??")
