"""For the API reference: a field `name: type = setting(default, meaning, ...)` has this default and this meaning."""

import ast
from typing import Any

import griffe


class SettingsOfMethods(griffe.Extension):
    """Reads settings of methods as what they say: the first argument is the default, the second the meaning."""

    def on_attribute_instance(self, *, attr: griffe.Attribute, **kwargs: Any) -> None:
        """Take a field apart."""
        call = attr.value
        if not isinstance(call, griffe.ExprCall) or str(call.function).rpartition(".")[2] != "setting":
            return
        default, meaning = call.arguments[:2]
        attr.value = default
        if attr.docstring is None:
            attr.docstring = griffe.Docstring(_text(meaning), lineno=attr.lineno, endlineno=attr.endlineno, parent=attr)


def _text(expression: Any) -> str:
    """A string literal, its parts joined, as a sentence."""
    text = str(ast.literal_eval(str(expression)))
    return text[:1].upper() + text[1:] + ("" if text.endswith(".") else ".")
