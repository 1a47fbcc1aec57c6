"""YAML of plain values; what is wrong with a text is one line."""

from typing import Any

import yaml

from modprompt.io.safe_open import PathLike, Refused, read_text


class _Once(yaml.SafeLoader):
    """Refuses a key that occurs twice in a mapping, where YAML would use the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key_node, _ in node.value:
            key = str(key_node.value)
            if key in seen:
                line = key_node.start_mark.line + 1
                raise yaml.YAMLError(f"the key {key!r} occurs twice, the second time in line {line}")
            seen.add(key)
        return super().construct_mapping(node, deep)


def parse(text: str, once: bool = False) -> Any:
    """The content of a YAML text; Refused if it is no YAML of plain values, or `once` and a key is there twice."""
    try:
        return yaml.load(text, Loader=_Once if once else yaml.SafeLoader)  # noqa: S506 - a SafeLoader, too
    except Exception as error:  # PyYAML's constructors raise what they meet: KeyError, IndexError, AttributeError
        said = " ".join(str(error).split()) if isinstance(error, (yaml.YAMLError, ValueError)) else ""
        raise Refused(said or f"it is no YAML of plain values ({type(error).__name__})") from None


def read(path: PathLike, once: bool = False) -> Any:
    """The content of a YAML file; raises as read_text and parse."""
    return parse(read_text(path), once)
