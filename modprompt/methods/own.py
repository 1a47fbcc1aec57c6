"""Methods of your own: entered by their class, and from then on used as all others are."""

from typing import Any, Callable, List, TypeVar

from modprompt.methods import table

M = TypeVar("M", bound=type)
Make = Callable[[Any], object]

_makers: List[Make] = []


def register_own(method: M) -> M:
    """Class decorator: enter a method under its class's name; where there is Dassl, a trainer of that name too.

    Raises:
        UserError: if that is the name of a method of this package, or of another one of yours.
    """
    table.enter(method)
    for make in _makers:
        make(method)
    return method


def each(make: Make) -> None:
    """Hand all methods that are entered to `make`, now and from now on."""
    _makers.append(make)
    for method in table.entered():
        make(method)
