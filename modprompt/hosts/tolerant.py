"""Leave out a codebase's trainers that cannot be imported, with a message, when its program runs one of ours.

Tolerated: errors of a module of its `trainers` while it is imported, and a missing one that its program imports.
"""

import contextlib
import importlib.abc
import importlib.machinery
import sys
import traceback
import types
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from modprompt.hosts.codebase import READERS, TRAINERS
from modprompt.io.program_text import imports_of
from modprompt.programs import one_line


@contextlib.contextmanager
def tolerated(program: Path) -> Iterator[None]:
    """In this context modules of the program's trainers/ that cannot be imported are left out."""
    finder = _Finder(program)
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)


class _Finder(importlib.abc.MetaPathFinder):
    """Gives modules of trainers/ a loader that goes on when they fail, or the program imports one that is not there."""

    def __init__(self, program: Path) -> None:
        self._folder, imported = program.parent, imports_of(program, program.parent)
        self._asked = {".".join(parts[:count]) for parts in imported for count in (len(parts) - 1, len(parts))}

    def find_spec(self, fullname: str, path: Sequence[str] | None = None, target: Any = None) -> Any:
        if fullname.partition(".")[0] != TRAINERS:
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path)
        if spec is None and fullname in self._asked and path is not None:
            return importlib.machinery.ModuleSpec(fullname, _Loader(None, self))
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
    """Wraps a loader, or none; a module that fails stays with what it had defined by then."""

    def __init__(self, plain: Any, finder: _Finder) -> None:
        self._plain, self._finder = plain, finder

    def __getattr__(self, name: str) -> Any:
        return getattr(self._plain, name)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType | None:
        return None if self._plain is None else self._plain.create_module(spec)

    def exec_module(self, module: types.ModuleType) -> None:
        if self._plain is None:
            print(f"This codebase imports the module {module.__name__}, which does not exist. The import is ignored.")
            return
        module.__loader__ = self._plain
        try:
            self._plain.exec_module(module)
        except (Exception, SystemExit) as error:  # their code
            if self._finder.is_of_what_must_run(error):
                raise
            print(
                f"This codebase imports the module {module.__name__}, but the import fails ({one_line(error)}). "
                "The import is ignored."
            )
