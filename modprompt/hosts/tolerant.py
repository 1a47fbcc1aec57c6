"""Leave out a codebase's trainers that cannot be imported, with a message, when its program runs one of ours.

Tolerated: errors of a module of its `trainers` while it is imported, and a missing one that its program imports.
Errors of its readers, its `clip` or Dassl never are.
"""

import ast
import contextlib
import importlib.abc
import importlib.machinery
import sys
import traceback
import types
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from modprompt.hosts.codebase import READERS
from modprompt.programs import one_line

_TRAINERS = "trainers"


@contextlib.contextmanager
def tolerated(program: Path) -> Iterator[None]:
    """In this context modules of the program's trainers/ that cannot be imported are left out."""
    finder = _Finder(program)
    last = _NotThere(_asked_for(program))
    sys.meta_path.insert(0, finder)
    sys.meta_path.append(last)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
        sys.meta_path.remove(last)


def _is_of_trainers(name: str) -> bool:
    return name.partition(".")[0] == _TRAINERS


def _asked_for(program: Path) -> set[str]:
    """Names of modules of trainers/ that a program's imports may mean."""
    try:
        tree = ast.parse(program.read_bytes())
    except (SyntaxError, ValueError):  # reported when it runs
        return set()
    names: set[str] = set()
    for node in tree.body:
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return set(filter(_is_of_trainers, names))


class _Finder(importlib.abc.MetaPathFinder):
    """The first finder: gives modules of trainers/ a loader that goes on when they fail."""

    def __init__(self, program: Path) -> None:
        self._folder = program.parent

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: types.ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if not _is_of_trainers(fullname):
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path)
        if spec is not None and spec.loader is not None and spec.origin is not None:
            spec.loader = _Loader(spec.loader, self)
        return spec

    def is_of_what_must_run(self, error: BaseException) -> bool:
        """Whether a module of readers, `clip` or Dassl failed while it was imported."""
        for frame in traceback.extract_tb(error.__traceback__):
            path = Path(frame.filename)
            own = path.relative_to(self._folder).parts[0] if self._folder in path.parents else ""
            if frame.name == "<module>" and (own == READERS or own.startswith("clip") or "dassl" in path.parts):
                return True
        return False


class _Loader(importlib.abc.Loader):
    """Wraps a loader; a module that fails stays with what it had defined by then."""

    def __init__(self, plain: Any, finder: _Finder) -> None:
        self._plain, self._finder = plain, finder

    def __getattr__(self, name: str) -> Any:
        return getattr(self._plain, name)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType | None:
        module: types.ModuleType | None = self._plain.create_module(spec)
        return module

    def exec_module(self, module: types.ModuleType) -> None:
        module.__loader__ = self._plain
        try:
            self._plain.exec_module(module)
        except (Exception, SystemExit) as error:  # their code
            if self._finder.is_of_what_must_run(error):
                raise
            print(f"{module.__name__} of this codebase is left out: it cannot be imported ({one_line(error)})")


class _NotThere(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """The last finder: an empty module for one of trainers/ that the program imports but that is missing."""

    def __init__(self, names: set[str]) -> None:
        self._names = names

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: types.ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        return importlib.machinery.ModuleSpec(fullname, self) if fullname in self._names and path is not None else None

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> None:
        return None

    def exec_module(self, module: types.ModuleType) -> None:
        print(f"{module.__name__} of this codebase is left out: it is not there")
