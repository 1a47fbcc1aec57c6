"""Text files that appear whole."""

import json
import os
from pathlib import Path
from typing import Any, Union

PathLike = Union[str, Path]


def write_whole(path: PathLike, text: str) -> None:
    """Write a text file that is either complete or not there, with its folders."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        aside.write_text(text, encoding="utf-8")
        aside.replace(path)
    finally:
        if aside.exists():
            aside.unlink()


def write_json(path: PathLike, content: Any) -> None:
    """Write JSON (indented by 2) whole."""
    write_whole(path, json.dumps(content, indent=2) + "\n")
