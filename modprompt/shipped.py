"""Where the files that go along with the engine are: in a checkout beside it, in an installed package inside it."""

import importlib
import sys
import types
from pathlib import Path
from typing import List

_PACKAGE = Path(__file__).resolve().parent


def trainers_folder() -> Path:
    """The folder of the trainers."""
    inside = _PACKAGE / "trainers"
    return inside if inside.is_dir() else _PACKAGE.parent / "trainers"


def configs_folder() -> Path:
    """The folder of MPL's config files."""
    inside = _PACKAGE / "configs"
    return inside if inside.is_dir() else _PACKAGE.parent / "configs" / "trainers" / "MPL"


def scripts_folder() -> Path:
    """The folder of the scripts that go into other codebases."""
    return _PACKAGE / "host_scripts"


def config_files() -> List[Path]:
    """MPL's config files that need no embedded model."""
    return sorted(path for path in configs_folder().glob("*.yaml") if not path.name.startswith("glyph"))


def import_trainer(name: str) -> types.ModuleType:
    """The module modprompt.trainers.<name>, which registers the trainer; never a codebase's own trainers.<name>."""
    package = "modprompt.trainers"
    if package not in sys.modules:
        module = types.ModuleType(package)
        module.__path__ = [str(trainers_folder())]
        sys.modules[package] = module
    return importlib.import_module(f"{package}.{name}")
