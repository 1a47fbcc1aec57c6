"""Late imports of the packages clip, open_clip and transformers, and the choice of the package clip.

The builds of OpenAI's package on PyPI begin with `from pkg_resources import packaging`. setuptools 70 removed that
name, later ones the whole module, and Python 3.12 environments come without setuptools. Only a version check needs it.
"""

import importlib
import importlib.machinery
import importlib.util
import sys
import types
import warnings
from pathlib import Path
from typing import Any

from modprompt.errors import UserError

_NAME = "pkg_resources"
_TOWERS = {"open_clip": "open_clip_torch>=3.3,<4", "timm": "timm>=1.0.17,<2", "transformers": "transformers>=5,<6"}


class _StandIn(types.ModuleType):
    """A module pkg_resources that contains `packaging`; for other names, the module of setuptools is imported."""

    def __getattr__(self, name: str) -> Any:
        if name == "packaging":
            import packaging.version

            return packaging
        if name.startswith("__") or self.__spec__ is None or self.__spec__.loader is None:
            if name == "fixup_namespace_packages":  # pytest takes it from any pkg_resources that is there
                return lambda *_: None
            raise AttributeError(f"module {_NAME!r} has no attribute {name!r}")
        real = importlib.util.module_from_spec(self.__spec__)
        self.__spec__.loader.exec_module(real)
        vars(self).update({key: value for key, value in vars(real).items() if not key.startswith("__")})
        return getattr(real, name)


def mend_imports() -> None:
    """Make `from pkg_resources import packaging` work in this process; a second call does nothing."""
    there = sys.modules.pop(_NAME, None)
    if there is None:
        spec = importlib.util.find_spec(_NAME) or importlib.machinery.ModuleSpec(_NAME, None)
        there = _StandIn(_NAME)
        there.__spec__ = spec
        if spec.submodule_search_locations:
            there.__path__ = spec.submodule_search_locations
    elif not hasattr(there, "packaging"):
        import packaging.version

        vars(there)["packaging"] = packaging
    sys.modules[_NAME] = there


def own_folder(folder: str | Path) -> Path | None:
    """Return the folder `clip` of a codebase, or None if it has none."""
    own = Path(folder).resolve() / "clip"
    return own if (own / "clip.py").is_file() else None


def use_folder(folder: str | Path) -> None:
    """Make `import clip` import the folder `clip` of a codebase, if it has one, even if a package clip is installed.

    If another package clip has already been imported, it stays imported, and a warning is printed.
    """
    own, loaded = own_folder(folder), sys.modules.get("clip.clip")
    if own is None:
        return
    if loaded is None:
        load_package(own)
    elif (place := Path(str(loaded.__file__)).parent).resolve() != own:
        warnings.warn(f"The package `clip` was already imported from {place}, so {own} is not used.", stacklevel=2)


def load_package(folder: Path) -> None:
    """Import a folder as a package, even if another package of the same name is installed."""
    init, name, places = folder / "__init__.py", folder.name, [str(folder)]
    spec: Any = importlib.machinery.ModuleSpec(name, None, is_package=True)
    spec.submodule_search_locations = places
    if init.is_file():
        spec = importlib.util.spec_from_file_location(name, str(init), submodule_search_locations=places)
    sys.modules[name] = module = importlib.util.module_from_spec(spec)
    if spec.loader is not None:
        try:
            spec.loader.exec_module(module)
        except BaseException:
            del sys.modules[name]
            raise


def import_clip() -> types.ModuleType:
    """Return the module `clip.clip`; the message of an ImportError says what to install."""
    if importlib.util.find_spec("clip") is None:
        raise ImportError("The package `clip` is not installed. Run `pip install clip-anytorch`.")
    return importlib.import_module("clip.clip")


def open_clip() -> Any:
    """Return the package open_clip; raise UserError if it is missing or has an untested version."""
    return _of_towers("open_clip")


def transformers() -> Any:
    """Return the package transformers; raise UserError if it is missing or has an untested version."""
    return _of_towers("transformers")


def _of_towers(module: str) -> Any:
    from packaging.requirements import Requirement  # late: `import modprompt` needs neither

    from modprompt.programs import one_line

    wanted, extra = _TOWERS[module], " ".join(f"'{one}'" for one in _TOWERS.values())
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = importlib.import_module(module)
    except ImportError as error:
        raise UserError(
            f"This CLIP model needs {wanted} ({one_line(error)[:160]}). Run `pip install {extra}`."
        ) from None
    if not Requirement(wanted).specifier.contains(found.__version__, prereleases=True):
        raise UserError(
            f"This CLIP model needs {wanted}, but version {found.__version__} is installed. Run `pip install {extra}`."
        )
    return found
