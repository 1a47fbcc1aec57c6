"""Pages for a browser: anybody's text in them is text, and by their policy they load and run nothing but their own."""

import base64
import hashlib
from html import escape

from modprompt.storage.text import writable


def html_text(text: str) -> str:
    """A text for a page, also inside an attribute's quotes, and one that is no UTF-8."""
    return escape(writable(text))


def policy(style: str, script: str = "") -> str:
    """The element of a page's head that allows this style, this script and images inside the page, and nothing else."""
    rules = ["default-src 'none'", "img-src data:", f"style-src {_hash(style)}"]
    rules += [f"script-src {_hash(script)}"] if script else []
    rules += ["base-uri 'none'", "form-action 'none'"]
    return f'<meta http-equiv="Content-Security-Policy" content="{escape("; ".join(rules))}">'


def _hash(text: str) -> str:
    """What a policy calls a style or a script by."""
    return "'sha256-" + base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode("ascii") + "'"
