"""`import clip` on a current setuptools, whoever imports it, once modprompt is imported.

The builds of OpenAI's package on PyPI open with `from pkg_resources import packaging`. setuptools 70 took that name
away, later ones the whole module, and Python 3.12 environments come without setuptools. Nothing but a version check
needs it, so it is stood in for while a module of `clip` that names it is being run, and taken away again.
"""

import contextlib
import sys
import types
from importlib.machinery import ModuleSpec
from typing import Any, Iterator, Optional, Sequence

_NAME = "pkg_resources"


@contextlib.contextmanager
def packaging_in_pkg_resources() -> Iterator[None]:
    """Have `from pkg_resources import packaging` work inside the block; where it does anyway nothing is done."""
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
    """Another loader, but for the block around the module's run; the module keeps the other one."""

    def __init__(self, plain: Any):
        self._plain = plain

    def __getattr__(self, name: str) -> Any:
        return getattr(self._plain, name)

    def exec_module(self, module: types.ModuleType) -> None:
        """Run a module as the other loader does."""
        if module.__spec__ is not None:
            module.__spec__.loader = self._plain
        module.__loader__ = self._plain
        with packaging_in_pkg_resources():
            self._plain.exec_module(module)


class _Finder:
    """Finds what the finders behind it find, for modules of `clip` that name pkg_resources; nothing else."""

    def find_spec(
        self, fullname: str, path: Optional[Sequence[str]] = None, target: Optional[types.ModuleType] = None
    ) -> Optional[ModuleSpec]:
        """A spec whose loader is wrapped, None where there is nothing to mend."""
        if fullname.partition(".")[0] != "clip":
            return None
        spec = self._found_behind(fullname, path, target)
        if spec is None or not _names_it(spec):
            return None  # the finders behind are asked again, as if this one were not there
        loader: Any = _Loader(spec.loader)
        spec.loader = loader
        return spec

    def _found_behind(
        self, fullname: str, path: Optional[Sequence[str]], target: Optional[types.ModuleType]
    ) -> Optional[ModuleSpec]:
        finders = list(sys.meta_path)
        for finder in finders[finders.index(self) + 1 :] if self in finders else []:
            find = getattr(finder, "find_spec", None)
            spec: Optional[ModuleSpec] = find(fullname, path, target) if find else None
            if spec is not None:
                return spec
        return None


def _names_it(spec: ModuleSpec) -> bool:
    """Whether a module's source names pkg_resources; no, if there is no source."""
    loader: Any = spec.loader
    try:
        return hasattr(loader, "exec_module") and _NAME in (loader.get_source(spec.name) or "")
    except (AttributeError, ImportError, OSError, ValueError, SyntaxError):
        return False  # whoever imports it sees what is wrong


def enter() -> None:
    """Have `clip` mended from now on, whoever imports it; a second time nothing happens."""
    if not any(type(finder).__module__ == __name__ for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())
