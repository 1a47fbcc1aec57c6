"""Forms of checkpoints and training states: a form checks a value, and refuses it in one line that names the part.

A check changes nothing: readers check all of a record before they do anything with a part.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

from modprompt.io.safe_open import Refused
from modprompt.io.text import is_text

Form = Callable[[Any, str], None]  # accepts a value and its place
_MOST = 1 << 63  # whole numbers from here on do not fit into 64 bits
_MOST_SHOWN = 40
_KINDS = (("a table", dict), ("a list", (list, tuple)), ("a text", str))


def refuse(where: str, what: str) -> NoReturn:
    """Raise Refused: the part at a place is `what`."""
    raise Refused(f"its part {where} is {what}" if where else f"it is {what}")


def shown(value: Any) -> str:
    """A value in a few words."""
    if value is None or isinstance(value, (bool, float)):
        return str(value)
    if isinstance(value, int):
        return str(value) if abs(value) < _MOST else "a number of more than 64 bits"
    kind = next((name for name, kinds in _KINDS if isinstance(value, kinds)), f"a {type(value).__name__}")
    return f"{kind} {ascii(value[:_MOST_SHOWN])}" if type(value) is str else kind


def within(where: str, key: Any) -> str:
    """The place of a part inside another."""
    name = str(key) if type(key) is str and key.isprintable() else ascii(key)
    return f"{where}.{name[:_MOST_SHOWN]}" if where else name[:_MOST_SHOWN]


def anything(value: Any, where: str) -> None:
    """Accepts everything."""


def _that(holds: Callable[[Any], bool], wanted: str) -> Form:
    """A value for which something holds."""
    return lambda value, where: None if holds(value) else refuse(where, f"{shown(value)}, not {wanted}")


flag = _that(lambda value: type(value) is bool, "True or False")


def text(most: int = 1 << 24) -> Form:
    """A text of at most so many characters that can be written: pickles may hold half a character."""
    return _that(lambda value: type(value) is str and len(value) <= most and is_text(value), "a text")


def whole(least: int = -_MOST, most: int = _MOST - 1) -> Form:
    """A whole number within these bounds."""
    span = f"{f' from {least}' if least > -_MOST else ''}{f' to {most}' if most < _MOST - 1 else ''}"
    return _that(lambda value: type(value) is int and least <= value <= most, f"a whole number{span}")


def number(least: float = -math.inf, infinite: bool = False) -> Form:
    """A number from `least` up that is not NaN; whole or not, infinite only if `infinite`."""

    def is_one(value: Any) -> bool:
        if type(value) is float:
            return value >= least and (infinite or math.isfinite(value))
        return type(value) is int and abs(value) < _MOST and value >= least

    return _that(is_one, f"a number{f' from {least} up' if least > -math.inf else ''}")


def _is_same(value: Any, wanted: Any) -> bool:
    """Whether both are equal and of one type, in lists too; a tensor in one is never compared with a number."""
    if type(value) is not type(wanted):
        return False
    if isinstance(wanted, (list, tuple)):
        return len(value) == len(wanted) and all(map(_is_same, value, wanted))
    return bool(value == wanted)


def exactly(wanted: Any) -> Form:
    """This value, of this type; so are the values in a list."""
    return _that(lambda value: _is_same(value, wanted), shown(wanted))


def maybe(form: Form) -> Form:
    """None, or what has the form."""
    return lambda value, where: None if value is None else form(value, where)


def row_of(*forms: Form) -> Form:
    """A list or tuple with a form for each place."""

    def of(value: Any, where: str) -> None:
        if type(value) not in (list, tuple):
            refuse(where, f"{shown(value)}, not a list")
        if len(value) != len(forms):
            refuse(where, f"a list of {len(value)}, not of {len(forms)}")
        for at, (form, item) in enumerate(zip(forms, value)):
            form(item, f"{where}[{at}]")

    return of


def rows(form: Form, length: int | None = None) -> Form:
    """A list or tuple of values of a form, so many if it is said."""

    def of(value: Any, where: str) -> None:
        count = len(value) if length is None and isinstance(value, (list, tuple)) else length or 0
        row_of(*[form] * count)(value, where)

    return of


def each(form: Form) -> Form:
    """A table from texts to values of a form."""

    def of(value: Any, where: str) -> None:
        table({})(value, where)
        for key, item in value.items():
            text()(key, f"{where}'s name")
            form(item, within(where, key))

    return of


def table(required: Mapping[Any, Form], optional: Mapping[Any, Form] | None = None) -> Form:
    """A table with these parts, some of which may be missing; others are not checked."""
    known: dict[Any, Form] = {**required, **(optional or {})}

    def of(value: Any, where: str) -> None:
        if not isinstance(value, dict):
            refuse(where, f"{shown(value)}, not a table")
        for key, form in known.items():
            if key in value:
                form(value[key], within(where, key))
            elif key in required:
                refuse(within(where, key), "missing")

    return of
