"""A kind of file: how a small whole one is written, and how programs read it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from modprompt.errors import UserError
from modprompt.io.checksum import KEY, content_hash

JSON, YAML, TORCH, OLD_TORCH, NPZ, NPY, CSV, PICKLE, TEXT, IMAGE, ARCHIVE, SAFETENSORS, MAT = (
    "json", "yaml", "torch", "torch before 1.6", "npz", "npy", "csv", "pickle", "text", "image", "archive",
    "safetensors", "mat",
)  # fmt: skip


class Kind(NamedTuple):
    """A kind of file.

    name: what it is called in the table's faults.
    form: one of the forms above, which says how its structure is changed.
    write: writes a whole one, and what must be beside it, into an empty folder; gives its path.
    read: what programs do with such a file; gives a value that compares, or raises a UserError or OSError.
    checked: whether it carries a checksum of all that is read of it.
    reseal: gives a changed content the hash that it would have had; None where nothing in it has one.
    """

    name: str
    form: str
    write: Callable[[Path], Path]
    read: Callable[[Path], Any]
    checked: bool = False
    reseal: Callable[[Any], Any] | None = None


def resealed(content: Any) -> Any:
    """A JSON record with the hash of its content, if it has a place for one."""
    if not isinstance(content, dict) or not isinstance(content.get(KEY), dict) or "hash" not in content[KEY]:
        return content
    facts = {key: value for key, value in content[KEY].items() if key != "hash"}
    try:
        digest = content_hash({**content, KEY: facts})
    except (TypeError, ValueError, RecursionError):  # nobody could have sealed it
        return content
    return {**content, KEY: {**facts, "hash": digest}}


def refuse(reason: str) -> None:
    """Raise the line that a program prints, where it goes on without the file.

    Raises:
        UserError: if there is a reason.
    """
    if reason:
        raise UserError(reason)
