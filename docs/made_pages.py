"""For the site: what its pages show of the program is made from the program when the site is built (a hook of mkdocs).

A line `<!-- made: NAME -->` of a page is replaced by what the function NAME gives.
The pages of methods stand in the navigation by their headings.
"""

import inspect
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
OF_METHODS = ROOT / "docs" / "methods"
sys.path.insert(0, str(ROOT))

import modprompt  # noqa: E402
from modprompt.cli import first_settings  # noqa: E402
from modprompt.cli.defaults import configs_by_clip  # noqa: E402
from modprompt.cli.main import COMMANDS  # noqa: E402
from modprompt.methods.table import BY_NAME, METHODS, PLUG_INS  # noqa: E402

_LINE = re.compile(r"^<!-- made: (\w+) -->$", re.MULTILINE)
_WIDE = 80  # characters of a line of code that a page shows without scrolling


def on_page_markdown(markdown: str, **kwargs: Any) -> str:
    """A page with what is made in it."""
    return _LINE.sub(lambda found: MADE[found[1]](), markdown)


def on_config(config: Any, **kwargs: Any) -> Any:
    """The navigation with a page for each method."""
    pages = {path.read_text().splitlines()[0].lstrip("# "): path.name for path in OF_METHODS.glob("*.md")}
    entries = [{title: f"methods/{name}"} for title, name in sorted(pages.items(), key=lambda one: one[0].lower())]
    next(part for part in config["nav"] if "Methods" in part)["Methods"] += entries
    return config


def methods() -> str:
    """A row for each trainer: its settings, what it says of itself, and its page."""
    lines = ["| trainer | its settings | what it does | page |", "| --- | --- | --- | --- |"]
    for row in (*METHODS, *PLUG_INS):
        names = (row.front, BY_NAME[row.of].front if row.of else "", row.module.rpartition(".")[2])
        page = next((f"[page](methods/{name}.md)" for name in names if (OF_METHODS / f"{name}.md").is_file()), "")
        node = f"`{row.node}`" if row.method.node_name() else ""
        does = str(inspect.getdoc(row.method)).partition("\n\n")[0].replace("\n", " ").replace("|", "\\|")
        lines.append(f"| `{row.name}` | {node} | {does} | {page} |")
    return "\n".join(lines)


def help_of(name: str) -> str:
    """What a command says to --help."""
    words = [sys.executable, "-m", "modprompt", *name.split(), "--help"]
    environment = {**os.environ, "COLUMNS": str(_WIDE)}
    return subprocess.run(words, cwd=ROOT, env=environment, check=True, capture_output=True, text=True).stdout.strip()


def commands() -> str:
    """A section for each command, with its help."""
    parts = []
    for name, command in COMMANDS.items():
        does = command.does[:1].upper() + command.does[1:]
        parts.append(f"## modprompt {name}\n\n{does}.\n\n```text\n{help_of(name)}\n```")
    return "\n\n".join(parts)


def settings() -> str:
    """What first_settings.md has of the program: settings that people change first, and each trainer's values."""
    meanings = {**first_settings.FIRST, first_settings.SHOTS: first_settings.OF_SHOTS}
    lines = ["| setting | what it is |", "| --- | --- |", *(f"| `{key}` | {what} |" for key, what in meanings.items())]
    lines += [
        "",
        f"Values of each trainer's config for {first_settings.CLIP}; a cell is empty where the config sets nothing:",
        "",
    ]
    short = [key.rpartition(".")[2] for key in first_settings.FIRST]
    lines += [f"| trainer | {' | '.join(short)} | config |", "| --- |" + " --- |" * (len(short) + 1)]
    for name in (row.name for row in METHODS if configs_by_clip(row.name)):
        config, values, _ = first_settings.given(name)
        if values:
            cells = " | ".join(str(values.get(key, "")) for key in first_settings.FIRST)
            lines.append(f"| `{name}` | {cells} | `{Path(config).stem}` |")
    return "\n".join(lines)


def _signature(name: str, thing: Any) -> str:
    """A name with its parameters, each on a line of its own if they do not fit into one."""
    try:
        found = inspect.signature(thing)
    except ValueError:  # of an exception, which takes what all take
        return f"modprompt.{name}(message)"
    back = "" if inspect.isclass(thing) else f" -> {_type(found.return_annotation)}"
    parameters = [_parameter(one) for one in found.parameters.values()]
    text = f"modprompt.{name}({', '.join(parameters)}){back}"
    if len(text) <= _WIDE:
        return text
    inner = "".join(f"    {one},\n" for one in parameters)
    return f"modprompt.{name}(\n{inner}){back}"


def _type(annotation: Any) -> str:
    text = annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)
    return re.sub(r"~|\b(?:\w+\.)+(?=[A-Z])", "", text)  # without modules, which names alone tell apart


def _parameter(one: inspect.Parameter) -> str:
    plain = one.replace(annotation=one.empty, default=one.empty)
    typed = "" if one.annotation is one.empty else f": {_type(one.annotation)}"
    default = "" if one.default is one.empty else f" = {one.default!r}" if typed else f"={one.default!r}"
    return f"{plain}{typed}{default}"


def _section(name: str, level: int = 3) -> str:
    thing = getattr(modprompt, name)
    text = inspect.getdoc(thing) or ""
    return f"{'#' * level} {name}\n\n```python\n{_signature(name, thing)}\n```\n\n{_as_markdown(text)}"


def _as_markdown(docstring: str) -> str:
    """A docstring with the headings and lists of its sections."""
    text = re.sub(r"^(Args|Returns|Raises|Attributes):$", r"**\1**\n", docstring, flags=re.MULTILINE)
    text = re.sub(r"^    (\w[\w.*]*): ", r"- `\1`: ", text, flags=re.MULTILINE)
    return re.sub(r"^    ( *)(?=\S)", r"  \1", text, flags=re.MULTILINE)


def interface() -> str:
    """Every public name with its signature and what it says of itself: first what is no method, then the methods."""
    names = [name for name in vars(modprompt)["__all__"] if name != "__version__"]  # the stub has no list of them
    methods = {row.name for row in (*METHODS, *PLUG_INS)}
    others = sorted((name for name in names if name not in methods), key=lambda name: name.endswith("Error"))
    parts = [*(_section(name) for name in others), "## Methods", *(_section(name) for name in names if name in methods)]
    return "\n\n".join(parts)


MADE = {"commands": commands, "interface": interface, "methods": methods, "settings": settings}
