"""YAML from files that may come from anywhere: plain values, of bounded depth, size and length of numbers.

Aliases are refused: a few of them can stand for more than fits into memory, or for themselves.
"""

from typing import Any

import yaml

from modprompt.io.safe_open import PathLike, Refused, read_text

MOST_BYTES = 1 << 20  # PyYAML needs seconds for as much
MOST_LEVELS = 100
_MOST_DIGITS = 40  # characters of a number


class _Loader(yaml.SafeLoader):
    """Within the bounds of this module."""

    levels = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("it has an alias (*name): write the value out")
        if self.levels > MOST_LEVELS:
            raise yaml.YAMLError(f"it is nested deeper than {MOST_LEVELS} levels")
        self.levels += 1
        try:
            return super().compose_node(parent, index)
        finally:
            self.levels -= 1


class _Once(_Loader):
    """Refuses a key that occurs twice in a mapping, where YAML would use the last."""


def _number(loader: _Loader, node: yaml.ScalarNode) -> Any:
    kind = node.tag.rpartition(":")[2]
    if len(str(node.value)) > _MOST_DIGITS:
        line = node.start_mark.line + 1
        raise yaml.YAMLError(f"line {line}: a number of {len(str(node.value))} characters ({_MOST_DIGITS} at most)")
    return loader.construct_yaml_int(node) if kind == "int" else loader.construct_yaml_float(node)


def _mapping(loader: _Once, node: yaml.MappingNode) -> dict[Any, Any]:
    seen: set[str] = set()
    for key_node, _ in node.value:
        key = loader.construct_object(key_node, deep=True)
        if str(key) in seen:
            raise yaml.YAMLError(
                f"the key {key!r} occurs twice, the second time in line {key_node.start_mark.line + 1}"
            )
        seen.add(str(key))
    return yaml.SafeLoader.construct_mapping(loader, node, deep=True)


for _kind in ("int", "float"):
    _Loader.add_constructor(f"tag:yaml.org,2002:{_kind}", _number)
_Once.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


def parse(text: str, once: bool = False) -> Any:
    """The content of a YAML text.

    Args:
        text: the text.
        once: a key may occur in a mapping only once; else the last one counts.

    Raises:
        Refused: in one line, if it is not YAML or beyond a bound.
    """
    if len(text) > MOST_BYTES:
        raise Refused(f"it is larger than {MOST_BYTES:,} bytes")
    try:
        return yaml.load(text, Loader=_Once if once else _Loader)  # noqa: S506 - a SafeLoader
    except Exception as error:  # PyYAML's constructors raise what they meet: KeyError, IndexError, AttributeError
        said = " ".join(str(error).split()) if isinstance(error, (yaml.YAMLError, ValueError)) else ""
        raise Refused(said or f"it is no YAML of plain values ({type(error).__name__})") from None


def read(path: PathLike, once: bool = False) -> Any:
    """The content of a YAML file.

    Raises:
        FileNotFoundError: if there is none.
        UserError: if it cannot be read, or is not UTF-8 text.
        Refused: as `parse`.
    """
    return parse(read_text(path, MOST_BYTES), once)
