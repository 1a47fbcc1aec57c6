"""Base and new classes: the first and second half of the sorted labels (CoCoOp, arXiv 2203.05557)."""

from __future__ import annotations

from typing import Sequence

from modprompt.data.images import Image
from modprompt.errors import UserError
from modprompt.runs.halves import base_classes

CHOICES = ("all", "base", "new")


def subsample_classes(*lists: Sequence[Image], subsample: str) -> tuple[Sequence[Image], ...]:
    """The lists with the images of one half of the classes, labels counted anew from 0; `all` leaves them as they are.

    The labels of the first list decide; of an odd number the base half gets one more.

    Raises:
        UserError: if `subsample` is not all, base or new, or the half has no class.
    """
    if subsample not in CHOICES:
        raise UserError(f"DATASET.SUBSAMPLE_CLASSES must be one of {', '.join(CHOICES)}, got {subsample!r}")
    if subsample == "all":
        return lists
    labels = sorted({image.label for image in lists[0]})
    half = base_classes(len(labels))
    selected = labels[:half] if subsample == "base" else labels[half:]
    if not selected:
        raise UserError(f"DATASET.SUBSAMPLE_CLASSES {subsample}: of {len(labels)} class(es) that half is empty")
    relabel = {label: position for position, label in enumerate(selected)}
    return tuple(
        [image._replace(label=relabel[image.label]) for image in images if image.label in relabel] for images in lists
    )
