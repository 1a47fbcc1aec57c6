"""The `clip` package that every CoOp-family codebase imports: fixing its import, and which one is used.

The builds of OpenAI's package on PyPI begin with `from pkg_resources import packaging`. setuptools 70 removed that
name, later ones the whole module, and Python 3.12 environments come without setuptools. Only a version check needs it,
so a substitute is there while a module of `clip` that names it is imported, and is removed again.
"""

import contextlib
import importlib
import importlib.machinery
import importlib.util
import sys
import types
import warnings
from collections.abc import Iterator, Sequence
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

_NAME = "pkg_resources"


@contextlib.contextmanager
def packaging_in_pkg_resources() -> Iterator[None]:
    """Let `from pkg_resources import packaging` work inside the block; does nothing if it works anyway."""
    try:
        import pkg_resources
    except ImportError:
        pkg_resources = None
    if hasattr(pkg_resources, "packaging"):
        yield
        return
    import packaging.version

    before = {_NAME: sys.modules[_NAME]} if _NAME in sys.modules else {}  # None there: not to be imported
    stand_in = pkg_resources or types.ModuleType(_NAME)
    vars(stand_in)["packaging"] = packaging
    sys.modules[_NAME] = stand_in
    try:
        yield
    finally:
        del sys.modules[_NAME]
        sys.modules.update(before)
        if pkg_resources is not None:
            del pkg_resources.packaging


class _Loader:
    """Wraps a loader: it runs the module in the context above; the module keeps the wrapped one."""

    def __init__(self, plain: Any):
        self._plain = plain

    def __getattr__(self, name: str) -> Any:
        return getattr(self._plain, name)

    def exec_module(self, module: types.ModuleType) -> None:
        """Run a module as the wrapped loader does."""
        if module.__spec__ is not None:
            module.__spec__.loader = self._plain
        module.__loader__ = self._plain
        with packaging_in_pkg_resources():
            self._plain.exec_module(module)


class _Finder:
    """Finds what later finders find, but only for modules of `clip` that name pkg_resources."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: types.ModuleType | None = None
    ) -> ModuleSpec | None:
        """A spec whose loader is wrapped, None if there is nothing to fix."""
        if fullname.partition(".")[0] != "clip":
            return None
        behind = sys.meta_path[sys.meta_path.index(self) + 1 :] if self in sys.meta_path else []
        found = (one.find_spec(fullname, path, target) for one in behind if hasattr(one, "find_spec"))
        spec = next((spec for spec in found if spec is not None), None)
        if spec is None or not _names_it(spec):
            return None  # later finders are asked again, as if this one did not exist
        loader: Any = _Loader(spec.loader)
        spec.loader = loader
        return spec


def _names_it(spec: ModuleSpec) -> bool:
    """Whether a module's source names pkg_resources; False without a source."""
    loader: Any = spec.loader
    try:
        return hasattr(loader, "exec_module") and _NAME in (loader.get_source(spec.name) or "")
    except (AttributeError, ImportError, OSError, ValueError, SyntaxError):
        return False  # its import shows what is wrong


def mend_imports() -> None:
    """Fix every import of `clip` from now on; a second call does nothing."""
    if not any(type(finder).__module__ == __name__ for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


def own_folder(folder: str | Path) -> Path | None:
    """A codebase's own folder `clip`, if it has one."""
    own = Path(folder).resolve() / "clip"
    return own if (own / "clip.py").is_file() else None


def found_in() -> Path | None:
    """The folder of the `clip` package that an import would find; None if there is none, or it has no __init__.py."""
    spec = importlib.util.find_spec("clip")
    return None if spec is None or spec.origin is None else Path(spec.origin).resolve().parent


def use_folder(folder: str | Path) -> None:
    """Let `clip` be a codebase's own folder `clip`, if it has one, even if an installed one would win.

    An installed package wins over a folder without __init__.py, an import hook over any. A `clip` that was imported
    from elsewhere before stays, with a warning.
    """
    own = own_folder(folder)
    if own is None:
        return
    loaded = sys.modules.get("clip.clip")
    if loaded is not None:
        file = Path(str(loaded.__file__))
        if file.resolve().parent != own:
            warnings.warn(f"`clip` was imported from {file.parent}, not from {own}", stacklevel=2)
        return
    if found_in() != own:
        load_package(own)


def load_package(folder: Path) -> None:
    """Make a folder the package of its name, whatever an import would find; its __init__.py is run if there is one."""
    init, name = folder / "__init__.py", folder.name
    spec = importlib.machinery.ModuleSpec(name, None, is_package=True)
    spec.submodule_search_locations = [str(folder)]
    if init.is_file():
        found = importlib.util.spec_from_file_location(name, str(init), submodule_search_locations=[str(folder)])
        spec = found or spec
    sys.modules[name] = module = importlib.util.module_from_spec(spec)
    if spec.loader is not None:
        try:
            spec.loader.exec_module(module)
        except BaseException:
            del sys.modules[name]
            raise


def import_clip() -> types.ModuleType:
    """The module `clip.clip` (tokenize, build_model, available_models) of the `clip` package on the path.

    Raises:
        ImportError: if there is none; the message says what to install.
    """
    if importlib.util.find_spec("clip") is None:
        raise ImportError("no `clip` package found: install it with `pip install clip-anytorch`")
    return importlib.import_module("clip.clip")
