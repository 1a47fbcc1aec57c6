"""For the API reference: a field `name: type = setting(default, meaning, ...)` has this default and this meaning.

A method's class, which is one with a node, has a table of all its settings, those of its bases too.
"""

import ast
from collections.abc import Iterator
from typing import Any

import griffe

_KEPT = "modprompt"  # under which an attribute keeps its meaning


class SettingsOfMethods(griffe.Extension):
    """Reads settings of methods as what they say, without running them.

    Of `setting(default, meaning, ...)` the first argument is the default and the second the meaning; of
    `changed(Owner, "field", default)` the third is the default, and Owner has the meaning.
    """

    def on_attribute_instance(self, *, attr: griffe.Attribute, **kwargs: Any) -> None:
        """Take a field apart."""
        call = attr.value
        if not isinstance(call, griffe.ExprCall) or attr.docstring is not None:
            return
        function = str(call.function).rpartition(".")[2]
        if function == "setting":
            attr.value, meaning = call.arguments[0], _sentence(call.arguments[1])
            attr.extra[_KEPT]["meaning"] = meaning
        elif function == "changed":
            attr.value, meaning = call.arguments[2], f"As in `{call.arguments[0]}`, with another default."
            attr.extra[_KEPT]["meaning"] = ""
        else:
            return
        attr.docstring = griffe.Docstring(meaning, lineno=attr.lineno, endlineno=attr.endlineno, parent=attr)

    def on_package(self, *, pkg: griffe.Module, **kwargs: Any) -> None:
        """Put its table behind what a method says of itself."""
        for cls in _classes(pkg):
            rows = _settings(cls) if "node" in cls.members else {}
            if rows and cls.docstring is not None:
                lines = [f"| `{name}` | `{row['default']}` | {row['meaning']} |" for name, row in rows.items()]
                table = "\n".join(["| setting | default | meaning |", "| --- | --- | --- |", *lines])
                cls.docstring.value += f"\n\n{table}"


def _sentence(literal: Any) -> str:
    text = str(ast.literal_eval(str(literal)))
    return text[:1].upper() + text[1:] + ("" if text.endswith(".") else ".")


def _classes(module: griffe.Module) -> Iterator[griffe.Class]:
    yield from (one for one in module.members.values() if isinstance(one, griffe.Class))
    for inner in module.members.values():
        if isinstance(inner, griffe.Module):
            yield from _classes(inner)


def _settings(cls: griffe.Class) -> dict[str, dict[str, str]]:
    """Default and meaning of each setting, the class's own first; the nearest default, the nearest meaning."""
    rows: dict[str, dict[str, str]] = {}
    for base in (cls, *cls.mro()):
        for name, attr in base.members.items():
            if isinstance(attr, griffe.Attribute) and "meaning" in attr.extra.get(_KEPT, {}):
                row = rows.setdefault(name, {"default": str(attr.value), "meaning": ""})
                row["meaning"] = row["meaning"] or attr.extra[_KEPT]["meaning"]
    return rows
