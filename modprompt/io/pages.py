"""Pages for a browser and cards in Markdown, made from templates: any text put into them stays text.

A template is next to the code that fills it and is named by its path in the package. A page has one look
(page.html.j2, page.css), and by its policy a browser loads and runs nothing but what is in it.
"""

import base64
import functools
import hashlib
from collections.abc import Callable
from html import escape
from pathlib import Path
from typing import Any

from modprompt.io.text import markdown_cell, writable

_PACKAGE = Path(__file__).resolve().parents[1]


def page(template: str, script: str = "", **values: Any) -> str:
    """A whole page from a template that extends io/page.html.j2, with one script (its name) or none."""
    style, code = source("io/page.css"), source(script) if script else ""
    rules = ["default-src 'none'", "img-src data:", f"style-src {_hash(style)}"]
    rules += [f"script-src {_hash(code)}"] if code else []
    rules += ["base-uri 'none'", "form-action 'none'"]
    return html(template, style=style, script=code, policy="; ".join(rules), **values)


def html(template: str, **values: Any) -> str:
    """A page or a part of one."""
    return str(_templates(escape).get_template(template).render(values))


def markdown(template: str, **values: Any) -> str:
    """A text in Markdown, in which values are inside lines."""
    return str(_templates(markdown_cell).get_template(template).render(values))


def source(name: str) -> str:
    """A style or a script of the package, as it is in a page."""
    return (_PACKAGE / name).read_text(encoding="utf-8")


def data_address(picture: bytes, kind: str = "jpeg") -> str:
    """The address of a picture that is inside the page."""
    return f"data:image/{kind};base64,{base64.b64encode(picture).decode('ascii')}"


@functools.cache
def _templates(shown: Callable[[str], str]) -> Any:
    """The package's templates, in which every value that is not marked as safe appears as `shown` gives it."""
    import jinja2  # late: it takes a moment; PyTorch brings it

    found = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_PACKAGE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        finalize=lambda value: value if hasattr(value, "__html__") else safe(shown(writable(str(value)))),
    )
    safe = found.filters["safe"]
    return found


def _hash(text: str) -> str:
    """The name of a style or a script in a policy."""
    return "'sha256-" + base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode("ascii") + "'"
