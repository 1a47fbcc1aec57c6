"""What a codebase imports and is not there: put down, and stood in for by empty packages, so that all of it is found.

A file for the process of a trial, like program.py, and loaded by its path: it imports nothing of modprompt.
"""

import ast
import importlib
import importlib.machinery
import importlib.util
import os
import sys
import types
from pathlib import Path
from typing import Any, Callable, List, Optional, Set, Union

EMPTY = "_Empty"  # in messages of errors that come of an empty package


class _Kind(type):
    """What an empty module has under every name: it can be called, decorated with, asked for more, and derived from."""

    def __getattr__(cls, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _Empty


class _Empty(metaclass=_Kind):
    """What is made of it."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return _Empty()

    def __getattr__(self, name: str) -> Any:
        return getattr(_Empty, name)

    def __getitem__(self, key: Any) -> Any:
        return _Empty()

    def __iter__(self) -> Any:
        return iter(())

    def __lt__(self, other: Any) -> bool:
        return False

    __gt__ = __le__ = __ge__ = __lt__

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *error: Any) -> None:
        pass


class _EmptyModule(types.ModuleType):
    __version__ = "999"

    def __getattr__(self, name: str) -> Any:
        return getattr(_Empty, name)


class Absent:
    """The last finder: puts down what the codebase asks for in vain, and lets it go on with an empty module."""

    def __init__(self, found: Callable[[str, str], None], folders: List[str]) -> None:
        """The codebase's files lie in `folders`; `found` is told a package that is not there, and who imports it."""
        self._found, self._folders = found, [Path(folder) for folder in folders]
        self._empty: Set[str] = set()

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Optional[importlib.machinery.ModuleSpec]:
        top = name.partition(".")[0]
        if top not in self._empty:
            importer = "" if "." in name else self._importer(name)
            if not importer:
                return None
            self._empty.add(top)
            self._found(top, importer)
        loader: Any = self
        return importlib.machinery.ModuleSpec(name, loader, is_package=True)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType:
        return _EmptyModule(spec.name)

    def exec_module(self, module: types.ModuleType) -> None:
        """There is nothing in it, but for the one name that all ask the last of these for."""
        if module.__name__ == "pkg_resources" and importlib.util.find_spec("packaging"):
            importlib.import_module("packaging.version")
            vars(module)["packaging"] = sys.modules["packaging"]

    def _importer(self, name: str) -> str:
        """The file that imports; empty where it is none of the codebase's, or it goes on without what is not there."""
        frame: Optional[types.FrameType] = sys._getframe(2)
        while frame is not None and _is_machinery(frame.f_code.co_filename):
            if frame.f_code.co_name == "find_spec":  # a question, not an import
                return ""
            frame = frame.f_back
        if name == "tensorboard":  # asked for by PyTorch, for whoever asks that
            while frame is not None and (_is_of_torch(frame) or _is_machinery(frame.f_code.co_filename)):
                frame = frame.f_back
        importer = frame.f_code.co_filename if frame is not None else ""
        if not self._is_near(importer):
            return ""
        while frame is not None:  # whoever catches it may stand further out
            file = frame.f_code.co_filename
            if self._is_near(file) and _is_caught(file, frame.f_lineno):
                return ""
            frame = frame.f_back
        return importer

    def _is_near(self, file: str) -> bool:
        """Whether a file is one of the codebase's, or of Dassl's; not of packages, nor of an installed modprompt."""
        path = Path(os.path.realpath(file))
        inside = [path.relative_to(folder).parts for folder in self._folders if folder in path.parents]
        return any(parts[0] != "modprompt" and not {"site-packages", "dist-packages"} & set(parts) for parts in inside)


def _is_of_torch(frame: types.FrameType) -> bool:
    return str(frame.f_globals.get("__name__", "")).startswith("torch.utils.tensorboard")


def _is_machinery(file: str) -> bool:
    path = Path(file)
    ours = path.parent == Path(__file__).parent
    return file.startswith("<frozen ") or "importlib" in path.parts or ours


_CATCHING = {"ImportError", "ModuleNotFoundError", "Exception", "BaseException"}


def _is_caught(file: str, line: int) -> bool:
    """Whether a line of a file stands in a `try`, or under a `suppress`, that catches a failed import."""
    try:
        tree = ast.parse(Path(file).read_bytes())
    except (OSError, SyntaxError, ValueError):
        return False
    blocks = [node for node in ast.walk(tree) if isinstance(node, (ast.Try, ast.With))]
    around = [node for node in blocks if node.body[0].lineno <= line <= (node.body[-1].end_lineno or line)]
    return any(_catches(kinds) for node in around for kinds in _caught(node))


def _caught(node: Union[ast.Try, ast.With]) -> List[List[Optional[ast.expr]]]:
    """The errors that each part of a block catches; None stands for all."""
    if isinstance(node, ast.Try):
        types = [handler.type for handler in node.handlers]
        return [list(kind.elts) if isinstance(kind, ast.Tuple) else [kind] for kind in types]
    calls = [item.context_expr for item in node.items if isinstance(item.context_expr, ast.Call)]
    return [list(call.args) for call in calls if _name(call.func) == "suppress"]


def _catches(kinds: List[Optional[ast.expr]]) -> bool:
    return any(kind is None or _name(kind) in _CATCHING for kind in kinds)


def _name(node: ast.expr) -> str:
    return str(getattr(node, "id", getattr(node, "attr", "")))
