"""Train prompts with active learning: each round selects images to label and trains new prompts with all labels.

All trainers and all flags of `modprompt train` can be used. The setting ACTIVE.ROUNDS is required.

modprompt active --trainer MPL ACTIVE.METHOD badge ACTIVE.PCB True ACTIVE.ROUNDS 3
    selects images of the bundled digits, which need no download
modprompt active --trainer MPL --root PHOTOS --backbone ViT-B/16 ACTIVE.METHOD cb ACTIVE.ROUNDS 4
    selects images in the folder PHOTOS, which contains unlabelled images and classnames.txt
"""

from __future__ import annotations

from typing import Any

from modprompt.cli import train
from modprompt.errors import UserError


def _check(cfg: Any) -> None:
    if not cfg.ACTIVE.ROUNDS and not cfg.TEST.ONLY:
        raise UserError(
            "ACTIVE.ROUNDS is 0, but `modprompt active` needs at least 1 round. Set ACTIVE.ROUNDS, or use "
            "`modprompt train` to train without rounds."
        )


def main(argv: list[str] | None = None) -> int:
    """Exit code as of `modprompt train`."""
    return train.main(argv, __doc__, _check)
