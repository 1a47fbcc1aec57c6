"""The `clip` package that every CoOp-family codebase imports, made importable on a current setuptools.

The builds of OpenAI's package on PyPI open with `from pkg_resources import packaging`. setuptools 70 took that name
away, later ones the whole module, and Python 3.12 environments come without setuptools. Nothing but a version check
needs it, so it is stood in for while `clip` is being imported, and taken away again.
"""

import contextlib
import importlib
import importlib.machinery
import importlib.util
import sys
import types
import warnings
from pathlib import Path
from typing import Any, Iterator, Optional

from modprompt.storage.opening import PathLike


@contextlib.contextmanager
def _pkg_resources_with_packaging() -> Iterator[None]:
    import packaging.version

    try:
        import pkg_resources
    except ImportError:
        pkg_resources = None
    if pkg_resources is None:
        stand_in: Any = types.ModuleType("pkg_resources")
        stand_in.packaging = packaging
        sys.modules["pkg_resources"] = stand_in
        try:
            yield
        finally:
            sys.modules.pop("pkg_resources", None)
    elif not hasattr(pkg_resources, "packaging"):
        pkg_resources.packaging = packaging
        try:
            yield
        finally:
            del pkg_resources.packaging
    else:
        yield


def own_folder(folder: PathLike) -> Optional[Path]:
    """The folder `clip` of a codebase, if it has one."""
    own = Path(folder).resolve() / "clip"
    return own if (own / "clip.py").is_file() else None


def found_in() -> Optional[Path]:
    """The folder of the `clip` package that an import would find; None if there is none, or it has no __init__.py."""
    spec = importlib.util.find_spec("clip")
    return None if spec is None or spec.origin is None else Path(spec.origin).resolve().parent


def use_folder(folder: PathLike) -> None:
    """Have `clip` come from a codebase's own folder `clip`, if it has one, even where an installed one would win.

    An installed package wins over a folder without __init__.py. A `clip` that was imported from elsewhere before stays,
    with a warning.
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
        spec = importlib.machinery.ModuleSpec("clip", None, is_package=True)
        spec.submodule_search_locations = [str(own)]
        sys.modules["clip"] = importlib.util.module_from_spec(spec)


def import_clip() -> types.ModuleType:
    """The module `clip.clip` (tokenize, build_model, available_models) of the `clip` package on the path.

    Raises:
        ImportError: if there is none; the message says what to install.
    """
    if importlib.util.find_spec("clip") is None:
        raise ImportError("no `clip` package found: install it with `pip install clip-anytorch`")
    try:
        return importlib.import_module("clip.clip")
    except ImportError as error:
        if "pkg_resources" not in str(error):
            raise
    with _pkg_resources_with_packaging():
        return importlib.import_module("clip.clip")


def tokenizer() -> Any:
    """A fresh byte-pair tokenizer of the `clip` package (49,408 tokens, lower-cased text)."""
    import_clip()
    return importlib.import_module("clip.simple_tokenizer").SimpleTokenizer()
