"""What of this package goes into other codebases, and where its files are."""

from pathlib import Path
from typing import List

from modprompt.places import PACKAGE, ROOT

GROUND = ("__init__", "checks", "errors", "moved", "places", "programs", "doctor", "install", "launch")
ROOMS = ("clips", "engine", "hosts", "learners", "methods", "runs", "storage", "training", "use")  # whole
TRAINERS = (
    "__init__", "clip_trainer", "config", "feature_cache", "learner_checkpoints", "mpl", "nodes", "once",
    "prompt_trainer", "registration", "regularised_trainer", "result", "resuming", "run_folder", "training_state",
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
    inside = PACKAGE / "configs"
    return inside if inside.is_dir() else ROOT / "configs" / "trainers" / "MPL"


def scripts_folder() -> Path:
    """The folder of the scripts that go into other codebases."""
    return PACKAGE / "hosts" / "scripts"


def config_files() -> List[Path]:
    """MPL's config files that need no embedded model."""
    return sorted(path for path in configs_folder().glob("*.yaml") if not path.name.startswith("glyph"))
