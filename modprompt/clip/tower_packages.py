"""The packages of towers and their tokenizers: imported when needed, or a message says why that fails."""

import contextlib
import importlib
import importlib.metadata
import logging
import warnings
from collections.abc import Iterator
from typing import Any

from modprompt.errors import UserError
from modprompt.programs import left_as_found

_NEEDED = {  # by module: the project's name, and its versions
    "open_clip": ("open_clip_torch", ">=3.3,<4"),
    "timm": ("timm", ">=1.0.17,<2"),
    "transformers": ("transformers", ">=5,<6"),
}


def open_clip() -> Any:
    """The package open_clip, with timm, which makes its image towers.

    Raises:
        UserError: if it is not installed, or in an unknown version.
    """
    _package("timm")
    return _package("open_clip")


def transformers() -> Any:
    """The package transformers; raises as open_clip."""
    return _package("transformers")


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """In this context the packages log no warnings: they complain about configs as released."""
    before = logging.root.manager.disable
    logging.disable(max(before, logging.WARNING))
    try:
        yield
    finally:
        logging.disable(before)


def _package(module: str) -> Any:
    from packaging.specifiers import SpecifierSet

    project, versions = _NEEDED[module]
    install = f"pip install {' '.join(repr(name + which) for name, which in _NEEDED.values())}"
    try:
        found = importlib.metadata.version(project)
    except importlib.metadata.PackageNotFoundError:
        raise UserError(f"this CLIP needs {project}{versions}, which is not installed: {install}") from None
    if not SpecifierSet(versions).contains(found, prereleases=True):
        raise UserError(f"this CLIP needs {project}{versions}, {found} is installed: {install}")
    try:
        with left_as_found(), warnings.catch_warnings():  # open_clip sets an environment variable
            warnings.simplefilter("ignore")
            return importlib.import_module(module)
    except ImportError as error:
        reason = " ".join(str(error).split())[:160]
        raise UserError(f"this CLIP needs {project}, which cannot be imported ({reason}): {install}") from None
