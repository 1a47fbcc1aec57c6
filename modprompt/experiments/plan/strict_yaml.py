"""YAML in which a key that stands twice is a mistake, not the last one's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from modprompt.storage.opening import read_text


class _Loader(yaml.SafeLoader):
    """Without aliases: a few of them can stand for more than fits into memory."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("it has an alias (*name): write the value out")
        return super().compose_node(parent, index)


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
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
        return yaml.load(read_text(path, 1 << 24), Loader=_Loader)  # noqa: S506 - a SafeLoader
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from None
