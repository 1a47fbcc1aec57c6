"""A codebase of the CoOp family: how it is recognised, its files, and the packages that it lacks."""

import importlib.machinery
import importlib.util
import sys
from collections.abc import Collection, Sequence
from pathlib import Path

from modprompt.clip.package import own_folder
from modprompt.errors import UserError
from modprompt.io.program_text import dassl_name, imports_of
from modprompt.places import PACKAGE

PROGRAM, READERS, TRAINERS = "train.py", "datasets", "trainers"
# a package's name for pip, where it differs from the module's
_PIP = {
    "PIL": "Pillow", "clip": "clip-anytorch", "cv2": "opencv-python", "kmeans_pytorch": "kmeans-pytorch", "ot": "POT",
    "open_clip": "open_clip_torch", "pkg_resources": '"setuptools<70"', "skimage": "scikit-image",
    "sklearn": "scikit-learn", "yaml": "PyYAML",
}  # fmt: skip


def is_this_project(folder: Path) -> bool:
    """Whether a folder is a checkout of this project."""
    return (folder / PACKAGE.name).resolve() == PACKAGE


def is_codebase(folder: Path) -> bool:
    """Whether a folder holds a program that calls Dassl's build_trainer, and readers or a `clip` next to it."""
    program = folder / PROGRAM
    has_parts = (folder / READERS).is_dir() or own_folder(folder) is not None
    if not has_parts or not program.is_file() or is_this_project(folder):
        return False
    content = program.read_bytes()
    return b"build_trainer" in content and (b"dassl" in content or dassl_name(program) != "dassl")


def find(folder: Path, asked: str = "") -> Path:
    """The codebase in a folder, or the only one below it (KDPL's src/).

    Args:
        folder: to look in.
        asked: the flag that named it, for messages.

    Raises:
        UserError: if there is none, or it is this project.
    """
    if is_this_project(folder):
        raise UserError(
            f"{asked}{folder}: the folder is modprompt itself, which needs neither --host nor `modprompt install`. Use "
            "the folder of another codebase."
        )
    if is_codebase(folder):
        return folder.resolve()
    codebases = codebases_below(folder)
    if len(codebases) == 1:
        return codebases[0].resolve()
    several = ", ".join(str(path.relative_to(folder)) for path in codebases)
    why = f"the folder contains several codebases ({several}). Use the path of one codebase." if codebases else (
        f"the folder contains no {PROGRAM} that calls Dassl's build_trainer and has {READERS}/ or clip/ next to "
        f"{PROGRAM}."
        if folder.is_dir() else "the folder does not exist. Check the path."
    )  # fmt: skip
    raise UserError(f"{asked}{folder}: {why}")


def codebases_below(folder: Path) -> list[Path]:
    """The codebases in subfolders of a folder, three levels down."""
    programs = sorted(path for depth in ("*", "*/*", "*/*/*") for path in folder.glob(f"{depth}/{PROGRAM}"))
    return [path.parent for path in programs if is_codebase(path.parent)]


def our_trainer(folder: Path) -> str:
    """The name of our trainer in a codebase; if the codebase has an MPL of its own, that one keeps the name."""
    return "ModMPL" if (folder / TRAINERS / "mpl.py").is_file() else "MPL"


def python_files(folder: Path) -> list[Path]:
    """The Python files below a folder, in order; nothing that is hidden, as in .ipynb_checkpoints/, is one of them."""
    every = ((path, path.relative_to(folder).parts) for path in folder.rglob("*.py"))
    return sorted(path for path, parts in every if not any(part.startswith(".") for part in parts))


def lacking(folder: Path, files: Sequence[Path], without: Collection[str] = (TRAINERS,)) -> list[str]:
    """The packages that files of a codebase import when they are loaded and that are not installed, by pip's names.

    Dassl, which pip cannot install, is never one, nor is wilds, which Dassl does without.

    Args:
        folder: of the codebase; its modules and Dassl's that the files import are read, too.
        files: to begin with.
        without: names of its packages that are not loaded; --host and the launcher do without its trainers.
    """
    dassl = spec_of("dassl")
    roots = [folder, *(Path(place).parent for place in (dassl and dassl.submodule_search_locations) or ())]
    waiting, read, missing = [*files], set[Path](), set[str]()
    while waiting:
        file = waiting.pop()
        if file in read or not file.is_file() or any(folder / name in file.parents for name in without):
            continue
        read.add(file)
        for parts in imports_of(file, next((root for root in roots if root in file.parents), file.parent)):
            places = [root.joinpath(*parts[:count]) for root in roots for count in range(1, len(parts) + 1)]
            waiting += [path for place in places for path in (place / "__init__.py", place.with_suffix(".py"))]
            is_theirs = any((root / parts[0]).is_dir() or (root / f"{parts[0]}.py").is_file() for root in roots)
            if not is_theirs and parts[0] not in sys.modules and spec_of(parts[0]) is None:
                missing.add(_PIP.get(parts[0], parts[0]))
    return sorted(missing - {"dassl", "wilds"})


def how_to_get(packages: Sequence[str]) -> str:
    """Return the end of a message on these packages, with the full stop before it."""
    return f". Run `pip install {' '.join(packages)}`." if packages else "."


def spec_of(module: str) -> importlib.machinery.ModuleSpec | None:
    """Where a module would be imported from; None if it is not installed."""
    try:
        return importlib.util.find_spec(module)
    except (ImportError, ValueError):  # a stand-in without a spec
        return None
