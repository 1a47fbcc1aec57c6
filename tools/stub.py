"""Writes modprompt/__init__.pyi, what `modprompt` gives, for type checkers and editors: python -m tools.stub"""

from pathlib import Path

import modprompt

PATH = Path(modprompt.__file__).with_name("__init__.pyi")
_HEAD = '"""What `modprompt` gives, for type checkers and editors: python -m tools.stub"""'
_ALWAYS = {"SettingError": "errors", "UserError": "errors", "__version__": "version"}


def text() -> str:
    """The stub: an import for each name, in the order of their modules."""
    names = sorted((module, name) for name, module in {**vars(modprompt)["LAZY"], **_ALWAYS}.items())
    lines = [f"from modprompt.{module} import {name} as {name}" for module, name in names]
    return "\n".join([_HEAD, "", *lines, ""])


if __name__ == "__main__":
    PATH.write_text(text())
