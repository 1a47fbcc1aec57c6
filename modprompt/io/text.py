"""Text that people read, in one line, in Markdown, and as UTF-8 can hold it."""

import re

_JOINERS = "\u200c\u200d"  # invisible, and part of words in some scripts
_MARKS = re.compile(
    r"[*`<\[\]|~]"
    r"|(?<![^\W_])_|_(?![^\W_])"  # between letters it marks nothing
    r"|&(?=#|\w+;)"
    r"|\\(?=[!-/:-@\[-`{-~]|$)"
    r"|^[#>=+-]"
)
_LIST = re.compile(r"^(\d{1,9})(?=[.)])")
_NUMBERS = re.compile(r"[\d,.]+( (to|±) [\d,.]+)?%?")  # which Markdown leaves as they are inside a line


def one_line(text: str) -> str:
    """A text for a line that people read: no line breaks, and escapes for what is invisible or controls a terminal."""
    return "".join(
        char if char.isprintable() or char in _JOINERS else char.encode("unicode_escape").decode("ascii")
        for char in " ".join(text.split())
    )


def markdown_text(text: str) -> str:
    """A text that Markdown shows as it is, in one line."""
    return _LIST.sub(r"\1\\", _MARKS.sub(r"\\\g<0>", one_line(text)))


def markdown_cell(text: str) -> str:
    """The same for a text that no line begins with, as in a table: numbers stay as they are."""
    return text if _NUMBERS.fullmatch(text) else markdown_text(text)


def writable(text: str) -> str:
    """A text as UTF-8 can hold it: names of files that are not UTF-8 are written with escapes."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def is_text(name: str) -> bool:
    """Whether a name can be written as UTF-8; a name on a disk in another encoding cannot."""
    return not any("\ud800" <= letter <= "\udfff" for letter in name)
