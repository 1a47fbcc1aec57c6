"""Substitutes for packages that may not be installed, and for Dassl under another name."""

import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import sys
import types
from pathlib import Path
from typing import Any

from modprompt.compat import mends
from modprompt.errors import UserError


def add_to_path() -> None:
    """Put the substitutes (a small `dassl`) at the very end of the module path; fix the real Dassl if it is used.

    Raises:
        UserError: if a Dassl is there, and a package that it needs is not.
    """
    folder = str(Path(__file__).resolve().parent / "stand_in")
    if folder not in sys.path:
        sys.path.append(folder)
    try:
        mends.apply()
    except ModuleNotFoundError as error:
        raise UserError(
            f"Dassl in {_folder_of_dassl()} needs a package that is not installed ({error}). Install the package (see "
            "Dassl's requirements.txt), or remove this folder from PYTHONPATH to use the minimal Dassl replacement "
            "that is bundled with modprompt."
        ) from error


def _folder_of_dassl() -> Path:
    spec = importlib.util.find_spec("dassl")
    return Path((spec and spec.origin) or "dassl/__init__.py").resolve().parents[1]


def also_named(package: str, name: str) -> None:
    """Let a package and its modules be imported by another name, too: they are the same modules under both."""
    sys.meta_path.insert(0, _Named(package, name))


class _Named(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def __init__(self, package: str, name: str):
        self._package, self._name = package, name
        self._specs: dict[str, Any] = {}  # by name; an import by another name would give a module another

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> importlib.machinery.ModuleSpec | None:
        is_of_it = fullname.partition(".")[0] == self._name
        return importlib.machinery.ModuleSpec(fullname, self) if is_of_it else None

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType:
        module = importlib.import_module(self._package + spec.name[len(self._name) :])
        self._specs[spec.name] = module.__spec__
        return module

    def exec_module(self, module: types.ModuleType) -> None:
        module.__spec__ = self._specs[module.__spec__.name] if module.__spec__ else None
