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


def sealed(content: Mapping[str, Any], version: int, **facts: Any) -> dict[str, Any]:
    """A record of plain values with the version of its form, further facts about it, and a hash of all of that."""
    marked = {**content, KEY: {"version": version, **facts}}
    return {**marked, KEY: {**marked[KEY], "hash": content_hash(marked)}}


def check_seal(content: Mapping[str, Any], path: object, what_to_do: str = "delete it to make it anew") -> bool:
    """Whether a record that was read has a hash; UserError if that is not the hash of its content."""
    if not isinstance(content.get(KEY), dict):
        if any(isinstance(value, dict) and {"version", "hash"} <= set(value) for value in content.values()):
            raise UserError(f"{path} is damaged or was changed by hand (its seal has another name): {what_to_do}")
        return False
    facts = {key: value for key, value in content[KEY].items() if key != "hash"}
    try:
        matches = content[KEY].get("hash") == content_hash({**content, KEY: facts})
    except (TypeError, ValueError, OverflowError, RecursionError):  # other than plain values are never sealed
        matches = False
    if not matches:
        raise UserError(f"{path} is damaged or was changed by hand (its hash does not match): {what_to_do}")
    return True


def arrays_hash(what: str, *arrays: "np.ndarray") -> str:
    """SHA-256 (hex) of NumPy arrays and of their meaning, to be stored with them."""
    digest = hashlib.sha256(what.encode())
    for array in arrays:
        digest.update(f"\n{array.dtype.str} {array.shape}\n".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()
