"""JSON; what is wrong with a text is one line."""

import json
from collections.abc import Callable
from typing import Any

from modprompt.io.safe_open import Refused
from modprompt.programs import one_line


def parse(text: str | bytes, pairs: Callable[[list[tuple[str, Any]]], Any] | None = None, finite: bool = False) -> Any:
    """The content of a JSON text; bytes are UTF-8. Raises Refused if it is not JSON.

    Args:
        text: the text.
        pairs: what to make of an object's (name, value) pairs; without it dicts.
        finite: NaN and infinities, which are not JSON, are refused.
    """
    try:
        if isinstance(text, bytes):  # the json module would guess other encodings, and let half characters pass
            text = text.decode("utf-8-sig")
        return json.loads(text, object_pairs_hook=pairs, parse_constant=_no_number if finite else None)
    except Refused:
        raise
    except (ValueError, RecursionError) as error:  # not JSON, not UTF-8, or more digits than Python reads
        raise Refused(one_line(error)[:160]) from None


def _no_number(text: str) -> Any:
    raise Refused(f"{text} is no number")
