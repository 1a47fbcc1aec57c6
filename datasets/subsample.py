"""Base and new classes: the first and second half of the sorted labels (CoCoOp, arXiv 2203.05557)."""

from __future__ import annotations

import math

from dassl.data.datasets import Datum

from modprompt.errors import UserError

CHOICES = ("all", "base", "new")


def subsample_classes(*lists: list, subsample: str) -> tuple[list, ...]:
    """The lists with the items of one half of the classes, labels counted anew from 0; `all` leaves them as they are.

    The labels of the first list decide; of an odd number the base half gets one more.

    Raises:
        UserError: if `subsample` is not all, base or new.
    """
    if subsample not in CHOICES:
        raise UserError(f"DATASET.SUBSAMPLE_CLASSES must be one of {', '.join(CHOICES)}, got {subsample!r}")
    if subsample == "all":
        return lists
    labels = sorted({item.label for item in lists[0]})
    half = math.ceil(len(labels) / 2)
    selected = labels[:half] if subsample == "base" else labels[half:]
    relabel = {label: position for position, label in enumerate(selected)}
    return tuple(
        [
            Datum(impath=item.impath, label=relabel[item.label], classname=item.classname)
            for item in items
            if item.label in relabel
        ]
        for items in lists
    )
