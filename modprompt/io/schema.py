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


def flag(value: Any, where: str) -> None:
    """True or False."""
    if type(value) is not bool:
        refuse(where, f"{shown(value)}, not True or False")


def text(most: int = 1 << 24, least: int = 0) -> Form:
    """A text of so many characters that can be written: pickles may hold half a character."""

    def form(value: Any, where: str) -> None:
        if type(value) is not str or not least <= len(value) <= most or not is_text(value):
            refuse(where, f"{shown(value)}, not a text" + (f" of {least} to {most:,} characters" if least else ""))

    return form


def whole(least: int = -_MOST, most: int = _MOST - 1) -> Form:
    """A whole number within these bounds."""

    def form(value: Any, where: str) -> None:
        if type(value) is not int or not least <= value <= most:
            span = f" from {least}" if least > -_MOST else ""
            refuse(where, f"{shown(value)}, not a whole number{span}{f' to {most}' if most < _MOST - 1 else ''}")

    return form


def number(least: float = -math.inf, infinite: bool = False) -> Form:
    """A number from `least` up that is not NaN; whole or not, infinite only if `infinite`."""

    def form(value: Any, where: str) -> None:
        is_one = type(value) in (int, float) and abs(value) < (math.inf if type(value) is float else _MOST)
        if not (is_one or (infinite and type(value) is float and math.isinf(value))) or value < least:
            refuse(where, f"{shown(value)}, not a number{f' from {least} up' if least > -math.inf else ''}")

    return form


def _is_same(value: Any, wanted: Any) -> bool:
    """Whether both are equal and of one type, in lists too; a tensor in one is never compared with a number."""
    if type(value) is not type(wanted):
        return False
    if isinstance(wanted, (list, tuple)):
        return len(value) == len(wanted) and all(map(_is_same, value, wanted))
    return bool(value == wanted)


def exactly(wanted: Any) -> Form:
    """This value, of this type; so are the values in a list."""

    def form(value: Any, where: str) -> None:
        if not _is_same(value, wanted):
            refuse(where, f"{shown(value)}, not {shown(wanted)}")

    return form


def maybe(form: Form) -> Form:
    """None, or what has the form."""
    return lambda value, where: None if value is None else form(value, where)


def rows(form: Form, length: int | None = None) -> Form:
    """A list or tuple of values of a form."""

    def of(value: Any, where: str) -> None:
        if type(value) not in (list, tuple):
            refuse(where, f"{shown(value)}, not a list")
        if length is not None and len(value) != length:
            refuse(where, f"a list of {len(value)}, not of {length}")
        for at, item in enumerate(value):
            form(item, f"{where}[{at}]")

    return of


def row_of(*forms: Form) -> Form:
    """A list or tuple with a form for each place."""

    def of(value: Any, where: str) -> None:
        rows(anything, len(forms))(value, where)
        for at, (form, item) in enumerate(zip(forms, value)):
            form(item, f"{where}[{at}]")

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
