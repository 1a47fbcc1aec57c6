"""Text and JSON files that appear whole; the hash of any file."""

import hashlib
import json
from pathlib import Path
from typing import Any, Union

from modprompt.storage.parts import part_of

PathLike = Union[str, Path]


def sha256_of(path: PathLike) -> str:
    """SHA-256 (hex) of a file's bytes.

    Raises:
        OSError: if it cannot be read.
    """
    digest = hashlib.sha256()
    with Path(path).open("rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def is_text(name: str) -> bool:
    """Whether a name can be written as UTF-8; what a disk has under another encoding cannot."""
    return not any("\ud800" <= letter <= "\udfff" for letter in name)


def write_whole(path: PathLike, text: str) -> None:
    """Write a text file that is either complete or not there, with its folders."""
    with part_of(path) as file:
        file.write(text.encode("utf-8"))


def write_json(path: PathLike, content: Any) -> None:
    """Write JSON (indented by 2) whole."""
    write_whole(path, json.dumps(content, indent=2) + "\n")
