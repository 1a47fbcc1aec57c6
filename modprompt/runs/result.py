"""result.json, the mark of a finished run: read, and believed only if it is whole."""

import json
from pathlib import Path
from typing import Any, Dict, NamedTuple, Optional

from modprompt.errors import UserError
from modprompt.storage.opening import PathLike, read_bytes
from modprompt.storage.seal import check_seal

FILE_NAME = "result.json"
VERSION = 2  # of the record; the first had no version and no hash


class Read(NamedTuple):
    """A result, or None and the reason why there is none ("" if there is no file)."""

    result: Optional[Dict[str, Any]]
    why: str = ""


def read_json(path: PathLike) -> Optional[Dict[str, Any]]:
    """The object in a JSON file; None if there is none or it is damaged."""
    try:
        content = json.loads(read_bytes(path))
    except (OSError, ValueError, RecursionError):  # UserError is a ValueError
        return None
    return content if isinstance(content, dict) else None


def read(folder: PathLike) -> Read:
    """The result in a run's folder."""
    path = Path(folder) / FILE_NAME
    result = read_json(path)
    if result is None:
        return Read(None, f"{FILE_NAME} is damaged" if path.exists() else "")
    try:
        check_seal(result, path)
    except UserError:
        return Read(None, f"{FILE_NAME} is damaged (its hash is of another content)")
    accuracy = result.get("accuracy_pct")
    if isinstance(accuracy, bool) or not isinstance(accuracy, (int, float)) or not 0 <= accuracy <= 100:
        return Read(None, f"{FILE_NAME} is damaged (accuracy_pct {str(accuracy)[:20]})")
    if not isinstance(result.get("settings", {}), dict):
        return Read(None, f"{FILE_NAME} is damaged (settings)")
    files = result.get("files") or {}
    if not isinstance(files, dict) or not all(isinstance(digest, str) for digest in files.values()):
        return Read(None, f"{FILE_NAME} is damaged (files)")
    return Read(result)
