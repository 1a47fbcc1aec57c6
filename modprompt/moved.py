"""Old import paths from docs/own_trainer.md of 0.2.0: they work in this one version, with a warning."""

import importlib
import importlib.abc
import importlib.machinery
import sys
import types
import warnings
from collections.abc import Sequence
from typing import Any

MOVED = {  # old: new
    "modprompt.learners": "modprompt.methods.parts",
    "modprompt.learners.independent": "modprompt.methods.parts.independent",
    "modprompt.methods.groups": "modprompt.methods.parts.groups",
}


class _Old(types.ModuleType):
    """A module at an old path; each name is imported from its new module at first use."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        new = MOVED[self.__name__]
        found = getattr(importlib.import_module(new), name)
        text = f"{self.__name__}.{name} is {new}.{name} now; the next version drops the old name"
        warnings.warn(text, DeprecationWarning, stacklevel=2)
        return found


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: types.ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """A module for an old path, nothing for any other."""
        if fullname not in MOVED:
            return None
        return importlib.machinery.ModuleSpec(fullname, self, is_package=fullname == "modprompt.learners")

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType:
        """An empty module that looks up its attributes."""
        return _Old(spec.name)

    def exec_module(self, module: types.ModuleType) -> None:
        """Nothing to run."""


def enter() -> None:
    """Let imports find the old paths."""
    sys.meta_path.append(_Finder())
