"""What of this package goes into other codebases, and where its files are."""

from pathlib import Path
from typing import List

from modprompt import places
from modprompt.places import PACKAGE

GROUND = ("__init__", "checks", "errors", "fields", "moved", "places", "programs", "doctor", "install", "launch")
ROOMS = ("clips", "engine", "hosts", "learners", "methods", "runs", "storage", "training", "use")  # whole
TRAINERS = (
    "__init__", "clip_trainer", "feature_cache", "learner_checkpoints", "mpl", "nodes", "once", "prompt_trainer",
    "registration", "frozen_trainer", "own_style", "result", "resuming", "run_folder", "settings", "training_state",
)  # fmt: skip


def package_files() -> List[Path]:
    """The files of this package that a codebase needs."""
    files = [PACKAGE / f"{name}.py" for name in GROUND]
    for room in ROOMS:
        files += [path for path in (PACKAGE / room).rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    files += [PACKAGE / "trainers" / f"{name}.py" for name in TRAINERS]
    files += [PACKAGE / "compat" / f"{name}.py" for name in ("__init__", "mends")]
    return sorted(files)


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
