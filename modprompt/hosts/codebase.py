"""A codebase of the CoOp family: how it is recognised, and what our trainer is called in it."""

from pathlib import Path

from modprompt.clip.package import own_folder
from modprompt.errors import UserError
from modprompt.places import PACKAGE

PROGRAM, READERS = "train.py", "datasets"


def starts_trainers(program: bytes) -> bool:
    """Whether a program belongs to the family: it calls Dassl's build_trainer."""
    return b"dassl" in program and b"build_trainer" in program


def is_this_project(folder: Path) -> bool:
    """Whether a folder is a checkout of this project."""
    return (folder / PACKAGE.name).resolve() == PACKAGE


def is_codebase(folder: Path) -> bool:
    """Whether a folder holds a program of the family, and readers or a `clip` next to it."""
    program = folder / PROGRAM
    beside = (folder / READERS).is_dir() or own_folder(folder) is not None
    return beside and program.is_file() and not is_this_project(folder) and starts_trainers(program.read_bytes())


def find(folder: Path, asked: str = "") -> Path:
    """The codebase in a folder, or in its only subfolder that is one (KDPL's src/).

    Args:
        folder: to look in.
        asked: the flag that named it, for messages.

    Raises:
        UserError: if there is none, or it is this project.
    """
    if is_this_project(folder):
        raise UserError(f"{asked}{folder}: it is modprompt itself, which needs neither --host nor installing")
    if is_codebase(folder):
        return folder.resolve()
    below = sorted(folder.iterdir()) if folder.is_dir() else []
    found = [one for one in below if one.is_dir() and is_codebase(one)]
    if len(found) == 1:
        return found[0].resolve()
    several = ", ".join(one.name for one in found)
    why = f"it holds several codebases ({several}): name one" if found else (
        f"there is no {PROGRAM} that calls Dassl's build_trainer, with {READERS}/ or clip/ next to it"
        if folder.is_dir() else "there is no such folder"
    )  # fmt: skip
    raise UserError(f"{asked}{folder}: {why}")


def our_trainer(folder: Path) -> str:
    """The name of our trainer in a codebase; if the codebase has an MPL of its own, that one keeps the name."""
    return "ModMPL" if (folder / "trainers" / "mpl.py").is_file() else "MPL"
