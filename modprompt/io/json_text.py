"""JSON from files that may come from anywhere: how deep it may be, and how large its numbers."""

import json
from collections.abc import Callable, Iterable
from typing import Any

from modprompt.io.safe_open import Refused
from modprompt.programs import one_line

MOST_LEVELS = 100
_MOST_BITS = 64  # of a whole number
_LEVELS = (dict, list, tuple)


def parse(
    text: str | bytes,
    pairs: Callable[[list[tuple[str, Any]]], Any] | None = None,
    finite: bool = False,
) -> Any:
    """The content of a JSON text.

    Args:
        text: the text; bytes are UTF-8.
        pairs: what to make of an object's (name, value) pairs; without it dicts.
        finite: NaN and infinities, which are not JSON, are refused.

    Raises:
        Refused: in one line, if it is not JSON, is nested deeper than MOST_LEVELS, or has a whole number of more than
            64 bits.
    """
    try:
        if isinstance(text, bytes):  # the json module would guess other encodings, and let half characters pass
            text = text.decode("utf-8-sig")
        content = json.loads(text, object_pairs_hook=pairs, parse_constant=_no_number if finite else None)
    except Refused:
        raise
    except RecursionError:
        raise Refused(_too_deep()) from None
    except ValueError as error:  # not JSON, not UTF-8, or more digits than Python reads
        said = one_line(error)
        raise Refused(_too_long() if "digits" in said else said[:160]) from None
    _require_bounds(content)
    return content


def _require_bounds(content: Any) -> None:
    level = [content]
    for _ in range(MOST_LEVELS + 1):
        if any(type(item) is int and item.bit_length() > _MOST_BITS for item in level):
            raise Refused(_too_long())
        level = [inner for item in level if isinstance(item, _LEVELS) for inner in _within(item)]
        if not level:
            return
    raise Refused(_too_deep())


def _within(item: Any) -> Iterable[Any]:
    return item.values() if isinstance(item, dict) else item


def _too_deep() -> str:
    return f"it is nested deeper than {MOST_LEVELS} levels"


def _too_long() -> str:
    return f"it has a whole number of more than {_MOST_BITS} bits"


def _no_number(text: str) -> Any:
    raise Refused(f"{text} is no number")
