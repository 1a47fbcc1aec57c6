"""JSON; what is wrong with a text is one line."""

import json
from typing import Any

from modprompt.io.safe_open import Refused
from modprompt.programs import one_line


def parse(text: str | bytes, finite: bool = False) -> Any:
    """The content of a JSON text; bytes are UTF-8.

    Refused if it is not JSON, a key has two values, or `finite` and a number is NaN or so.
    """
    try:
        if isinstance(text, bytes):  # the json module would guess other encodings, and let half characters pass
            text = text.decode("utf-8-sig")
        return json.loads(text, object_pairs_hook=_once, parse_constant=_no_number if finite else None)
    except Refused:
        raise
    except (ValueError, RecursionError) as error:  # not JSON, not UTF-8, or more digits than Python reads
        raise Refused(one_line(error)[:160]) from None


def _no_number(text: str) -> Any:
    raise Refused(f"{text} is no number")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object, of which Python would keep the last of several values of a key."""
    found = dict(pairs)
    if len(found) < len(pairs):
        for key, value in pairs:
            if found[key] != value:
                raise Refused(f"the key {key[:80]!r} has two values")
    return found
