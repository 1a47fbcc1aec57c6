"""Names that a user gives, checked against those there are."""

import difflib
from typing import Sequence

from modprompt.errors import UserError


def check_name(name: str, known: Sequence[str], setting: str) -> None:
    """Raise UserError unless `name` is known; the nearest one is proposed."""
    if name in known:
        return
    listed = ", ".join(sorted(known))
    if not name:
        raise UserError(f"{setting}: no name is given (known: {listed})")
    folded = {one.lower(): one for one in known}
    near = difflib.get_close_matches(name.lower(), list(folded), n=1, cutoff=0.5)
    hint = f"; did you mean {folded[near[0]]!r}?" if near else ""
    raise UserError(f"{setting}: there is no {name!r}{hint} (known: {listed})")
