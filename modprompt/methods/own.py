"""Methods of your own: registered by their class, and from then on used like all others."""

from collections.abc import Callable
from typing import Any, TypeVar

from modprompt.io.program_text import find_module, source_hash
from modprompt.methods import table

M = TypeVar("M", bound=type)
Make = Callable[[Any], object]

_makers: list[Make] = []
imported_sources: dict[str, str] = {}  # the hash of each module's source when it registered a method


def register_own(method: M) -> M:
    """Class decorator: register a method under its class's name; with Dassl, as a trainer of that name too.

    Raises:
        UserError: if a method of this package, or another one of yours, has that name.
    """
    table.enter(method)
    module = method.__module__
    file = None if module == "__main__" else find_module(module)  # a script or notebook is no module to import again
    if file is not None:
        imported_sources[module] = source_hash(module, file)
    for make in _makers:
        make(method)
    return method


def each(make: Make) -> None:
    """Call `make` with all registered methods, now and later."""
    _makers.append(make)
    for method in table.entered():
        make(method)
