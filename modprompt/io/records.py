"""Plain values as JSON and YAML, whose faults are one line, and seals, which show a flipped bit.

A record's hash is in it, next to the version of its form: {..., "modprompt": {"version": 1, "hash": "..."}}.
"""

import contextlib
import functools
import hashlib
import json
import os
from collections.abc import Mapping
from typing import Any

import yaml

from modprompt.errors import UserError
from modprompt.io.files import PathLike, Refused, read_bytes, read_text, sha256_of
from modprompt.programs import one_line

KEY = "modprompt"


def parse_json(text: str | bytes) -> Any:
    """The content of a JSON text; bytes are UTF-8. Refused if it is not JSON, or a key has two values."""
    try:
        if isinstance(text, bytes):  # the json module would guess other encodings, and let half characters pass
            text = text.decode("utf-8-sig")
        return json.loads(text, object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:  # not JSON, not UTF-8, or more digits than Python reads
        raise Refused(one_line(error)[:160]) from None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object, of which Python would keep the last of several values of a key."""
    found = dict(pairs)
    for key, value in pairs:
        if found[key] is not value and found[key] != value:
            raise Refused(f"the key {key[:80]!r} has two values")
    return found


def read_json(path: PathLike) -> dict[str, Any] | None:
    """The object in a JSON file; None if there is none or it is damaged."""
    try:
        content = parse_json(read_bytes(path))
    except (OSError, ValueError):  # UserError is a ValueError
        return None
    return content if isinstance(content, dict) else None


class _Once(yaml.SafeLoader):
    """Refuses a key that occurs twice in a mapping, where YAML would use the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [str(key.value) for key, _ in node.value]
        for at, (key, _) in enumerate(node.value):
            if keys[at] in keys[:at]:
                said = f"the key {keys[at]!r} occurs twice, the second time in line {key.start_mark.line + 1}"
                raise yaml.YAMLError(said)
        return super().construct_mapping(node, deep)


def parse_yaml(text: str, once: bool = False) -> Any:
    """The content of a YAML text; Refused if it is no YAML of plain values, or `once` and a key is there twice."""
    try:
        return yaml.load(text, Loader=_Once if once else yaml.SafeLoader)  # noqa: S506 - a SafeLoader, too
    except Exception as error:  # PyYAML's constructors raise what they meet: KeyError, IndexError, AttributeError
        said = " ".join(str(error).split()) if isinstance(error, (yaml.YAMLError, ValueError)) else ""
        raise Refused(said or f"the text is not YAML of plain values ({type(error).__name__})") from None


def read_yaml(path: PathLike, once: bool = False) -> Any:
    """The content of a YAML file; raises as read_text and parse_yaml."""
    return parse_yaml(read_text(path), once)


def content_hash(content: Any) -> str:
    """SHA-256 (hex) of plain values, the same however the JSON was laid out."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def sealed(content: Mapping[str, Any], version: int, **facts: Any) -> dict[str, Any]:
    """A record of plain values with the version of its form, further facts about it, and a hash of all of that."""
    marked = {**content, KEY: {"version": version, **facts}}
    return {**marked, KEY: {**marked[KEY], "hash": content_hash(marked)}}


def check_seal(
    content: Mapping[str, Any], path: object, what_to_do: str = "Delete the file, which is then written again."
) -> bool:
    """Whether a record that was read has a hash; UserError if that is not the hash of its content."""
    if not isinstance(content.get(KEY), dict):
        return False
    facts = {key: value for key, value in content[KEY].items() if key != "hash"}
    if content[KEY].get("hash") != content_hash({**content, KEY: facts}):
        advice = f"{what_to_do[:1].upper()}{what_to_do[1:].rstrip('.')}."
        raise UserError(f"{path} is damaged or was edited by hand, since its hash does not match its content. {advice}")
    return True


@functools.lru_cache(maxsize=4096)
def _hash_of(path: str, size: int, time_ns: int) -> str:
    if path.endswith(".json"):
        with contextlib.suppress(ValueError):  # what is no JSON is compared byte by byte
            return content_hash(parse_json(read_bytes(path)))
    return sha256_of(path)


def file_hash(path: PathLike) -> str:
    """SHA-256 (hex) of a file's content; of JSON the same however it is laid out. Raises OSError."""
    found = os.stat(str(path))
    return _hash_of(str(path), found.st_size, found.st_mtime_ns)
