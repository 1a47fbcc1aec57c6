"""Active prompt learning: rounds that choose which images are labelled, around any trainer; `modprompt train`'s flags.

modprompt active --trainer MPL ACTIVE.METHOD badge ACTIVE.PCB True ACTIVE.ROUNDS 3      the digits; needs no download
modprompt active --trainer MPL --root PHOTOS --backbone ViT-B/16 ACTIVE.METHOD cb ACTIVE.ROUNDS 4
    images that nobody has labelled, next to classnames.txt
"""

from __future__ import annotations

from typing import Any

from modprompt.cli import train
from modprompt.errors import UserError


def _check(cfg: Any) -> None:
    if not cfg.ACTIVE.ROUNDS and not cfg.TEST.ONLY:
        raise UserError("ACTIVE.ROUNDS is 0: say how many rounds to run (modprompt train runs none)")


def main(argv: list[str] | None = None) -> int:
    """Exit code as of `modprompt train`."""
    return train.main(argv, __doc__, _check)
