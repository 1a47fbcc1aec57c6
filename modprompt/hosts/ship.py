"""What of this package goes into other codebases, and where its files are.

Rooms go whole, so that a file that is added to one of them goes along; what stays out is named.
"""

from pathlib import Path
from typing import Dict, Iterator, List, Tuple

from modprompt import places
from modprompt.hosts.manifest import read_manifest
from modprompt.places import PACKAGE

ROOMS = (
    "clips", "compat", "engine", "heads", "hosts", "learners", "methods", "runs", "storage", "trainers", "training",
    "use",
)  # fmt: skip
# codebases bring their own Dassl and programs; all methods go along, since `modprompt.NAME` promises them
LEFT_OUT = (
    "__main__.py",
    "compat/stand_in",
    "trainers/all.py",
    "trainers/first_screen.py",
    "trainers/reading.py",
    "trainers/run.py",
)
SCRIPTS = ("base2new_train", "base2new_test", "few_shot", "xd_train", "xd_test")


def package_files() -> List[Path]:
    """The files of this package that a codebase needs: the ground and the doors, and ROOMS without LEFT_OUT."""
    found = [*PACKAGE.glob("*.py"), *PACKAGE.glob("py.typed")]
    for room in ROOMS:
        found += (path for path in (PACKAGE / room).rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return sorted(path for path in found if not _is_left_out(path))


def _is_left_out(path: Path) -> bool:
    inside = path.relative_to(PACKAGE)
    return any(at.as_posix() in LEFT_OUT for at in (inside, *inside.parents))


def files_for(trainer: str) -> Dict[str, bytes]:
    """What belongs into a codebase in which our trainer has this name, by path in it."""
    files = dict(_engine())
    for path in config_files():
        files[f"modprompt/configs/{path.name}"] = files[f"configs/trainers/{trainer}/{path.name}"] = path.read_bytes()
    script = (scripts_folder() / "run.sh").read_bytes()
    for protocol in SCRIPTS:
        files[f"scripts/{trainer.lower()}/{protocol}.sh"] = script
    return files


def _engine() -> Iterator[Tuple[str, bytes]]:
    """The package's files; of a copy in a codebase those that were installed, not what a user put beside them."""
    installed = read_manifest(PACKAGE.parent)
    if installed is None:
        paths = package_files()
    else:
        paths = sorted(PACKAGE.parent / path for path in installed.files if path.startswith("modprompt/"))
    for path in paths:
        inside = path.relative_to(PACKAGE)
        if inside.parts[0] != "configs":
            yield f"modprompt/{inside.as_posix()}", path.read_bytes()


def configs_folder() -> Path:
    """The folder of MPL's config files."""
    named = places.configs() / "trainers" / "MPL"
    return named if named.is_dir() else places.configs()  # in a codebase


def scripts_folder() -> Path:
    """The folder of the scripts that go into other codebases."""
    return PACKAGE / "hosts" / "scripts"


def config_files() -> List[Path]:
    """MPL's config files that need no embedded model."""
    return sorted(path for path in configs_folder().glob("*.yaml") if not path.name.startswith("glyph"))
