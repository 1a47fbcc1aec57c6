"""The `clip` package that every CoOp-family codebase imports: which one it is, and its parts."""

import importlib
import importlib.machinery
import importlib.util
import sys
import types
import warnings
from pathlib import Path
from typing import Any, Optional, Union


def own_folder(folder: Union[str, Path]) -> Optional[Path]:
    """The folder `clip` of a codebase, if it has one."""
    own = Path(folder).resolve() / "clip"
    return own if (own / "clip.py").is_file() else None


def found_in() -> Optional[Path]:
    """The folder of the `clip` package that an import would find; None if there is none, or it has no __init__.py."""
    spec = importlib.util.find_spec("clip")
    return None if spec is None or spec.origin is None else Path(spec.origin).resolve().parent


def use_folder(folder: Union[str, Path]) -> None:
    """Have `clip` come from a codebase's own folder `clip`, if it has one, even where an installed one would win.

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
    """Make a folder the package of its name, whatever an import would find; its __init__.py is run, if it has one."""
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


def tokenizer() -> Any:
    """A fresh byte-pair tokenizer of the `clip` package (49,408 tokens, lower-cased text)."""
    import_clip()
    return importlib.import_module("clip.simple_tokenizer").SimpleTokenizer()
