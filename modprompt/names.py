"""Names that a user gives, checked against those there are."""

import difflib
from typing import Sequence

from modprompt.errors import UserError


def known_names(name: str, known: Sequence[str]) -> str:
    """What to say behind an unknown name: the nearest of those there are, and all of them."""
    folded = {one.lower(): one for one in known}
    near = difflib.get_close_matches(name.lower(), list(folded), n=1, cutoff=0.5)
    hint = f"; did you mean {folded[near[0]]!r}?" if near else ""
    return f"{hint} (known: {', '.join(sorted(known))})"


def check_name(name: str, known: Sequence[str], setting: str) -> None:
    """Raise UserError unless `name` is known; the nearest one is proposed."""
    if name in known:
        return
    what = f"there is no {name!r}" if name else "no name is given"
    raise UserError(f"{setting}: {what}{known_names(name, known)}")
