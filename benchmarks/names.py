"""Real class names, from a file with one on each line."""

from collections import Counter
from pathlib import Path

from modprompt.errors import UserError


def read_names(path: str) -> list[str]:
    """The class names in a file, in its order; empty lines are left out.

    Raises:
        UserError: if the file cannot be read as UTF-8, is empty, or has a name twice.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"--names {path}: cannot be read as text in UTF-8 ({error})") from None
    names = [line.strip() for line in lines if line.strip()]
    if not names:
        raise UserError(f"--names {path}: there is no name in it; write one on each line")
    name, count = Counter(names).most_common(1)[0]
    if count > 1:
        raise UserError(f"--names {path}: {name!r} is there {count} times; class names must differ")
    return names
