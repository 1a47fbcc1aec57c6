"""Put MPL into a codebase of the CoOp family by one import line in its train.py; pip installs modprompt itself.

modprompt install CODEBASE              write the line
modprompt install CODEBASE --dry-run    show it
modprompt install CODEBASE --uninstall  restore every byte

`modprompt scripts CODEBASE` prints the commands for base to new there.
"""

import argparse
import difflib
import os
import stat
import subprocess
import sys
from pathlib import Path

from modprompt.errors import UserError
from modprompt.hosts.codebase import PROGRAM, find
from modprompt.hosts.scripts import start_of
from modprompt.hosts.train_line import STATEMENT, has_line, with_line, without_line
from modprompt.hosts.which_clip import found_by, require_own_clip
from modprompt.io.files import part_of
from modprompt.places import PACKAGE
from modprompt.programs import report


def is_uncommitted(folder: Path) -> bool:
    """Whether git lists uncommitted changes of train.py."""
    git = ["git", "-C", str(folder), "status", "--porcelain", "--", PROGRAM]
    try:
        done = subprocess.run(git, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False)
    except OSError:  # no git
        return False
    state = done.stdout.decode(errors="replace").strip()
    return done.returncode == 0 and bool(state) and not state.startswith("??")


def require_found(folder: Path) -> None:
    """Raise UserError unless a program in this folder would import this very modprompt."""
    found = found_by(folder, PACKAGE.name)
    if found is None:
        raise UserError(f"a program in {folder} would not find modprompt: pip install --no-deps {PACKAGE.parent} first")
    if found != PACKAGE:
        raise UserError(f"a program in {folder} would import {found}, not {PACKAGE}: remove that one")


def put_in(folder: Path, dry_run: bool, even_if_changed: bool) -> None:
    """Write the import line into a codebase's train.py, or show it.

    Raises:
        UserError: if the line would have no effect there, or the user's changes are not committed.
    """
    program = folder / PROGRAM
    content = program.read_bytes()
    require_found(folder)
    require_own_clip(folder)
    if has_line(content):
        print(f"nothing to do: {program} has the line already")
        return
    if dry_run:
        before, after = (
            text.decode(errors="replace").splitlines(keepends=True) for text in (content, with_line(content))
        )
        sys.stdout.writelines(difflib.unified_diff(before, after, f"a/{PROGRAM}", f"b/{PROGRAM}"))
        return
    if is_uncommitted(folder) and not even_if_changed:
        raise UserError(
            f"{program} has changes that are not committed: commit them, or add --even-if-changed "
            "(one line is added; --uninstall removes it)"
        )
    _write(program, with_line(content))
    print(f"{program} has a new line: {STATEMENT}")
    print(f"Start with: {start_of(folder)}")
    print(f"        or: modprompt scripts {folder} > base2new.sh && bash base2new.sh eurosat 1")
    print(f"Whether it runs: cd {folder} && modprompt doctor")


def uninstall(folder: Path) -> None:
    """Restore every byte of a codebase.

    Raises:
        UserError: if there is no line.
    """
    program = folder / PROGRAM
    content = program.read_bytes()
    if without_line(content) == content:
        raise UserError(f"nothing is installed in {folder}: its {PROGRAM} has no line {STATEMENT!r}")
    _write(program, without_line(content))
    if STATEMENT.encode() in program.read_bytes():
        raise UserError(f"removed, but {program} still names modprompt.trainers.mpl elsewhere: look there")
    print(f"{folder} is as it was")


def _write(program: Path, content: bytes) -> None:
    path = program.resolve()  # a linked train.py stays a link
    mode = stat.S_IMODE(path.stat().st_mode)
    with part_of(path) as file:
        file.write(content)
        if hasattr(os, "fchmod"):
            os.fchmod(file.fileno(), mode)


def run(args: argparse.Namespace) -> None:
    """Install, uninstall or show, by the arguments."""
    folder = find(Path(args.folder))
    if args.uninstall:
        uninstall(folder)
    else:
        put_in(folder, args.dry_run, args.even_if_changed)


def main(argv: list[str] | None = None) -> int:
    """Exit code 0, or 2 after a message on what is wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", help="the codebase, with its train.py")
    parser.add_argument("--dry-run", action="store_true", help="show what would change")
    parser.add_argument("--uninstall", action="store_true", help="restore every byte")
    parser.add_argument("--even-if-changed", action="store_true", help="also with uncommitted changes in train.py")
    return report(run, parser.parse_args(argv))
