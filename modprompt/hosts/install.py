"""Add MPL to a Dassl-based codebase, such as CoOp, with one import line in the train.py of the codebase.

modprompt install CODEBASE              test the imports of train.py with the line, then write the line
modprompt install CODEBASE --uninstall  remove the line, so that train.py is identical to the original file

The package modprompt itself is installed with pip.
"""

import ast
import os
import re
import shlex
import stat
import subprocess
import sys
from pathlib import Path

from modprompt.errors import UserError
from modprompt.hosts.codebase import PROGRAM, find, lacking, our_trainer
from modprompt.hosts.launch import NO_DASSL
from modprompt.hosts.rows import with_rows
from modprompt.io.files import part_of
from modprompt.io.program_text import dassl_name, flags_of
from modprompt.places import ROOT
from modprompt.programs import Parser, report

STATEMENT = "import modprompt.trainers.mpl"
LINE = f"{STATEMENT}  # MPL; `modprompt install . --uninstall` removes this line"
CONFIG = "vit_b4_c1_add2_rm1"
_LAUNCH = "`modprompt launch`, which skips trainers that cannot be imported"
_MENDED = re.compile(r"(from|import) (dassl|datasets|trainers|clip)\b")
# the imports of a program, by a Python started as that program is, and nothing else of it
_TRY = """
import ast, sys
from pathlib import Path
tree = ast.parse(sys.stdin.buffer.read())
tree.body = [node for node in tree.body if isinstance(node, (ast.Import, ast.ImportFrom))]
exec(compile(tree, "train.py", "exec"), {"__name__": "__main__"})
from modprompt.hosts.foreign import say_which_clip
say_which_clip(Path())
"""


def has_line(program: bytes) -> bool:
    """Whether a train.py imports the trainer, in a line of its own that is not a comment."""
    return any(line.strip().startswith(STATEMENT.encode()) for line in program.splitlines())


def with_line(program: bytes) -> bytes:
    """A train.py with the line before its first import of Dassl, or of its own parts, which the line mends.

    Raises:
        UserError: if it is not valid Python, or imports none of these.
    """
    try:
        tree = ast.parse(program)
    except (SyntaxError, ValueError) as error:
        raise UserError(f"{PROGRAM} is not a valid Python program ({error}).") from None
    first = next((node.lineno for node in tree.body if _MENDED.match(ast.unparse(node))), 0)
    if not first:
        raise UserError(f"{PROGRAM} does not import Dassl. Add this import line by hand: {STATEMENT}")
    for node in reversed(tree.body):  # another statement may end in that line and begin in an earlier one
        if node.lineno < first <= (node.end_lineno or node.lineno):
            first = node.lineno
    lines = program.splitlines(keepends=True)
    eol = b"\r\n" if lines[0].endswith(b"\r\n") else b"\n"
    return b"".join([*lines[: first - 1], LINE.encode() + eol, *lines[first - 1 :]])


def without_line(program: bytes) -> bytes:
    """A train.py without the line, byte for byte as it was."""
    lines = program.splitlines(keepends=True)
    return b"".join(line for line in lines if not line.strip().startswith(STATEMENT.encode()))


def put(folder: Path, there: bool) -> None:
    """Insert the import line into a codebase's train.py after trying it, or remove it: `there`, whether it is wanted.

    Raises:
        UserError: if the program cannot be told to use our trainer, or its imports fail with the line, or there is no
            line to remove.
    """
    program = folder / PROGRAM
    content = program.read_bytes()
    if there and has_line(content):
        print(f"Nothing was changed, because {program} already contains the import line.")
        return
    if not there and not has_line(content):
        raise UserError(
            f"There is nothing to uninstall in {folder}, because {PROGRAM} does not contain the line {STATEMENT!r}."
        )
    changed = with_line(content) if there else without_line(content)
    start = start_of(folder) if there else ""
    said = _tried(folder, changed) if there else ""
    path = program.resolve()  # a linked train.py stays a link
    mode = stat.S_IMODE(path.stat().st_mode)
    with part_of(path) as file:
        file.write(changed)
        if hasattr(os, "fchmod"):
            os.fchmod(file.fileno(), mode)
    if there:
        print(f"{said}The import line was added to {program}: {STATEMENT}\nTo start training, run: {start}")
    else:
        print(f"The import line was removed. {program} is identical to the original file again.")


def _tried(folder: Path, program: bytes) -> str:
    """What the imports of a program say; UserError if they fail."""
    command = [sys.executable, "-B", "-c", _TRY]
    done = subprocess.run(command, cwd=folder, input=program, capture_output=True, check=False)
    if not done.returncode:
        lines = done.stdout.decode(errors="replace").splitlines()
        return "".join(f"{line}\n" for line in lines if line.startswith("clip: "))
    why = (done.stderr.decode(errors="replace").strip().splitlines() or [f"exit code {done.returncode}"])[-1]
    packages = lacking(folder, [folder / PROGRAM], without=())
    if "No module named 'modprompt" in why:
        advice = f"Run `pip install --no-deps {ROOT}` first."
    elif "No module named 'dassl'" in why:
        advice = NO_DASSL
    elif packages:
        launch = "" if lacking(folder, [folder / PROGRAM]) else f", or use {_LAUNCH}"
        advice = f"Run `pip install {' '.join(packages)}` first{launch}."
    else:
        advice = f"Use {_LAUNCH} and needs no import line."
    raise UserError(
        f"The import line was not added to {folder / PROGRAM}, because the program could no longer import its modules "
        f"with this line ({why}). {advice}"
    )


def start_of(folder: Path) -> str:
    """How a codebase's own program starts a run, on EuroSAT, with the flags that it has and what it needs.

    Raises:
        UserError: if it has no flag for the trainer, or another Dassl.
    """
    trainer, spelled = our_trainer(folder), flags_of(folder / PROGRAM)
    if "--trainer" not in spelled or dassl_name(folder / PROGRAM) != "dassl":
        why = "imports a Dassl of another name" if "--trainer" in spelled else "has no flag for the trainer"
        raise UserError(
            f"{folder / PROGRAM} {why}, so the import line would have no effect. Use `modprompt train --host {folder}` "
            "instead."
        )
    flags = {"--trainer": trainer, "--config-file": CONFIG, "--dataset-config-file": "configs/datasets/eurosat.yaml"}
    flags |= {"--root": "DATA", "--output-dir": "output/mpl"}
    words = [word for flag, value in flags.items() if flag in spelled for word in (spelled[flag], value)]
    words += ["DATASET.NUM_SHOTS", "16", "DATASET.SUBSAMPLE_CLASSES", "base"]
    return " ".join(map(shlex.quote, ["python", PROGRAM, *with_rows(words, folder / PROGRAM, trainer).words]))


def _main(argv: list[str] | None) -> None:
    parser = Parser(__doc__)
    parser.add_argument("folder", help="folder of the codebase, which contains train.py")
    parser.add_argument("--uninstall", action="store_true", help="remove the import line")
    args = parser.parse_args(argv)
    put(find(Path(args.folder)), not args.uninstall)


def main(argv: list[str] | None = None) -> int:
    """Exit code 0, or 2 after a message on what is wrong."""
    return report(_main, argv)
