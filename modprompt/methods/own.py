"""Methods of your own: registered by their class, and from then on used like all others."""

from collections.abc import Callable
from typing import Any, TypeVar

from modprompt.methods import table

M = TypeVar("M", bound=type)
Make = Callable[[Any], object]

_makers: list[Make] = []


def register_own(method: M) -> M:
    """Class decorator: register a method under its class's name; with Dassl, as a trainer of that name too.

    Raises:
        UserError: if a method of this package, or another one of yours, has that name.
    """
    table.enter(method)
    for make in _makers:
        make(method)
    return method


def each(make: Make) -> None:
    """Call `make` with all registered methods, now and later."""
    _makers.append(make)
    for method in table.entered():
        make(method)
