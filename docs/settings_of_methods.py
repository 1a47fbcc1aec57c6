"""For the API reference: a field `name: type = setting(default, meaning, ...)` has this default and this meaning."""

import ast
from typing import Any

import griffe


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
        elif function == "changed":
            attr.value, meaning = call.arguments[2], f"As in `{call.arguments[0]}`, with another default."
        else:
            return
        attr.docstring = griffe.Docstring(meaning, lineno=attr.lineno, endlineno=attr.endlineno, parent=attr)


def _sentence(literal: Any) -> str:
    text = str(ast.literal_eval(str(literal)))
    return text[:1].upper() + text[1:] + ("" if text.endswith(".") else ".")
