"""YAML in which a key that stands twice is a mistake, not the last one's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml


class _Loader(yaml.SafeLoader):
    pass


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict:
    keys = [loader.construct_object(key, deep=True) for key, _ in node.value]
    seen: set[str] = set()
    for key, (key_node, _) in zip(keys, node.value):
        if str(key) in seen:
            raise yaml.YAMLError(
                f"the key {key!r} stands twice, the second time in line {key_node.start_mark.line + 1}"
            )
        seen.add(str(key))
    return yaml.SafeLoader.construct_mapping(loader, node, deep=True)


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


def load(path: Path) -> Any:
    """The content of a YAML file.

    Raises:
        ValueError: if it is no YAML, or a key stands twice; the message says where.
    """
    try:
        return yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)  # noqa: S506 - a SafeLoader
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from None
