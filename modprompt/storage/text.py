"""Text and JSON files that appear whole."""

import json
from pathlib import Path
from typing import Any, Union

from modprompt.storage.parts import part_of

PathLike = Union[str, Path]


def write_whole(path: PathLike, text: str) -> None:
    """Write a text file that is either complete or not there, with its folders."""
    with part_of(path) as file:
        file.write(text.encode("utf-8"))


def write_json(path: PathLike, content: Any) -> None:
    """Write JSON (indented by 2) whole."""
    write_whole(path, json.dumps(content, indent=2) + "\n")
