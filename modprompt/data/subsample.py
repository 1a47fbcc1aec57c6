"""Base and new classes: the first and second half of the sorted labels (CoCoOp, arXiv 2203.05557)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from modprompt.data.images import Image
from modprompt.errors import UserError
from modprompt.io.base_new import base_classes

CHOICES = ("all", "base", "new")


def subsample_classes(*lists: Sequence[Image], subsample: str) -> tuple[Sequence[Image], ...]:
    """The lists with the images of one half of the classes, labels renumbered from 0; `all` leaves them as they are.

    The labels of the first list decide; if their number is odd, the base half gets one more.

    Raises:
        UserError: if `subsample` is not all, base or new, or the half has no class.
    """
    if subsample == "all":
        return lists  # as they are, though they may be many
    selected = _selected(lists[0], subsample)
    relabel = {label: position for position, label in enumerate(selected)}
    return tuple(
        [image._replace(label=relabel[image.label]) for image in images if image.label in relabel] for images in lists
    )


def which_of_name(images: Sequence[Image], subsample: str) -> tuple[int, ...]:
    """For each class of a half its place, from 0, among all classes of its name; empty if no name repeats.

    Args:
        images: of all classes.
        subsample: all, base or new.
    """
    names = {image.label: image.classname for image in images}
    if len(set(names.values())) == len(names):
        return ()
    counted: Counter[str] = Counter()
    which = {}
    for label, name in sorted(names.items()):
        which[label] = counted[name]
        counted[name] += 1
    return tuple(which[label] for label in _selected(images, subsample))


def _selected(images: Sequence[Image], subsample: str) -> list[int]:
    """The labels of a half, or all."""
    if subsample not in CHOICES:
        raise UserError(f"DATASET.SUBSAMPLE_CLASSES must be one of {', '.join(CHOICES)}, got {subsample!r}")
    labels = sorted({image.label for image in images})
    half = base_classes(len(labels))
    selected = {"all": labels, "base": labels[:half], "new": labels[half:]}[subsample]
    if not selected:
        raise UserError(f"DATASET.SUBSAMPLE_CLASSES {subsample}: of {len(labels)} class(es) that half is empty")
    return selected
