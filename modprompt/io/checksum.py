"""A hash of its content in a JSON record, so that a flipped bit is noticed.

It is under the key `modprompt`, next to the record's version: {..., "modprompt": {"version": 1, "hash": "..."}}.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from modprompt.errors import UserError

if TYPE_CHECKING:
    import numpy as np

KEY = "modprompt"


def content_hash(content: Any) -> str:
    """SHA-256 (hex) of plain values, the same however the JSON was laid out."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def _without_hash(content: Mapping[str, Any]) -> dict[str, Any]:
    facts = {key: value for key, value in content[KEY].items() if key != "hash"}
    return {**content, KEY: facts}


def sealed(content: Mapping[str, Any], version: int, **facts: Any) -> dict[str, Any]:
    """A record with its version, further facts about it, and a hash of all of that.

    Args:
        content: the record, of plain values.
        version: of the record's form.
        facts: what else is under `modprompt`.
    """
    marked = {**content, KEY: {"version": version, **facts}}
    return {**marked, KEY: {**marked[KEY], "hash": content_hash(marked)}}


def _hash_if_any(content: Any) -> str | None:
    """The hash of a content; None if it has other than plain values, which are never sealed."""
    try:
        return content_hash(content)
    except (TypeError, ValueError, OverflowError, RecursionError):
        return None


def check_seal(content: Mapping[str, Any], path: object, what_to_do: str = "delete it to make it anew") -> bool:
    """Whether a record that was read has a hash, which must be the right one.

    Raises:
        UserError: if its content is not what was written.
    """
    if not isinstance(content.get(KEY), dict):
        if any(isinstance(value, dict) and {"version", "hash"} <= set(value) for value in content.values()):
            raise UserError(f"{path} is damaged or was changed by hand (its seal has another name): {what_to_do}")
        return False
    digest = _hash_if_any(_without_hash(content))
    if digest is None or content[KEY].get("hash") != digest:
        raise UserError(f"{path} is damaged or was changed by hand (its hash does not match): {what_to_do}")
    return True


def arrays_hash(what: str, *arrays: "np.ndarray") -> str:
    """SHA-256 (hex) of NumPy arrays and of their meaning, to be stored with them."""
    digest = hashlib.sha256(what.encode())
    for array in arrays:
        digest.update(f"\n{array.dtype.str} {array.shape}\n".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()
