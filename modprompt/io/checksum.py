"""Hashes of contents: of files, and of JSON records, which have theirs in them, so that a flipped bit is noticed.

It is under the key `modprompt`, next to the record's version: {..., "modprompt": {"version": 1, "hash": "..."}}.
"""

import contextlib
import functools
import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modprompt.errors import UserError
from modprompt.io import json_text
from modprompt.io.safe_open import PathLike
from modprompt.io.text import sha256_of

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


@functools.lru_cache(maxsize=4096)
def _hash_of(path: str, size: int, time_ns: int) -> str:
    if path.endswith(".json"):
        with contextlib.suppress(ValueError):  # what is no JSON is compared byte by byte
            return content_hash(json_text.parse(Path(path).read_bytes()))
    return sha256_of(path)


def file_hash(path: PathLike) -> str:
    """SHA-256 (hex) of a file's content; of JSON the same however it is laid out. Raises OSError."""
    found = os.stat(str(path))
    return _hash_of(str(path), found.st_size, found.st_mtime_ns)
