"""Nested plain contents with one thing wrong: what a file may hold that nobody has written."""

import copy
import math
from collections.abc import Iterator
from typing import Any

Where = tuple[Any, ...]
HUGE = 10**30


def _deep(levels: int = 90) -> list[Any]:
    nest: list[Any] = []
    for _ in range(levels):
        nest = [nest]
    return nest


WRONG: dict[
    type, tuple[Any, ...]
] = {  # what stands in place of a value of a type; each is of another type, or no value
    bool: (None, "True", [], {}, math.nan),
    int: (None, "1", 1.5, math.nan, -1, HUGE, [], {}),
    float: (None, "1", math.nan, math.inf, [], {}),
    str: (None, 7, 1.5, [], {}, "\ud800", "x" * 5000),
    list: (None, 7, "text", {}, [None], _deep()),
    dict: (None, 7, "text", [], {"other": 1}, {7: None}),
    type(None): (7, "text", [], {}, math.nan),
}
OTHER: tuple[Any, ...] = (None, 7, "text", [], {})  # in place of a value of any other type, such as a tensor
MISSING, EXTRA = "missing", "extra"


def mutations(content: Any, most_items: int = 3) -> Iterator[tuple[str, Any]]:
    """All single mutations of nested dicts, lists, tuples and plain values.

    Args:
        content: left as it is; of leaves that are no plain values (tensors) copies share memory.
        most_items: how many items of a list are gone through, from its start.

    Yields:
        (where and what, a mutated copy), as in ("modprompt.clip.size is 'text'", {...}).
    """
    for where, value in places(content, (), most_items):
        for wrong in wrong_for(value):
            yield f"{named(where)} is {_shown(wrong)}", changed(content, where, wrong)
        if isinstance(value, dict):
            yield f"{named(where)} has {EXTRA} {EXTRA!r}", changed(content, where, {**value, EXTRA: 1})
        if isinstance(value, (list, tuple)) and value:
            yield f"{named(where)} has {EXTRA} item", changed(content, where, [*value, value[-1]])
        if where:
            yield f"{named(where)} is {MISSING}", without(content, where)


def wrong_for(value: Any) -> tuple[Any, ...]:
    """What stands in place of a value."""
    return WRONG.get(_kind(value), OTHER)


def _kind(value: Any) -> type:
    return next((kind for kind in WRONG if isinstance(value, kind)), list if isinstance(value, tuple) else object)


def places(value: Any, where: Where = (), most_items: int | None = None) -> Iterator[tuple[Where, Any]]:
    """(keys that lead to it, value) of a content and of all that is in it, what holds something before that."""
    yield where, value
    inner: Iterator[tuple[Any, Any]] = iter(())
    if isinstance(value, dict):
        inner = iter(list(value.items()))
    elif isinstance(value, (list, tuple)):
        inner = iter(list(enumerate(value))[:most_items])
    for key, item in inner:
        yield from places(item, (*where, key), most_items)


def named(where: Where) -> str:
    """A place in words."""
    return ".".join(map(str, where)) or "all of it"


def _shown(value: Any) -> str:
    return ascii(value)[:40]


def _copy(value: Any) -> Any:
    """Dicts and lists anew; leaves are shared."""
    if isinstance(value, dict):
        made = copy.copy(value)
        made.update({key: _copy(item) for key, item in value.items()})
        return made
    return [_copy(item) for item in value] if type(value) in (list, tuple) else value


def _owner(content: Any, where: Where) -> Any:
    for step in where[:-1]:
        content = content[step]
    return content


def changed(content: Any, where: Where, value: Any) -> Any:
    """A copy with another value at a place."""
    if not where:
        return _copy(value)
    made = _copy(content)
    _owner(made, where)[where[-1]] = value
    return made


def without(content: Any, where: Where) -> Any:
    """A copy without what stands at a place."""
    made = _copy(content)
    del _owner(made, where)[where[-1]]
    return made
