"""Base and new classes: the first and the second half of the sorted labels, alone and together (CoCoOp)."""

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # reading results alone imports no NumPy
    import numpy as np

KEY = "halves"  # in the result of a test of all classes
APART = "halves_apart"  # in that of a test of both, which classifies each half's images among its own classes
SEEN = "seen"  # in a result: what its training saw of new classes
NAMES = ("base", "new")


def base_classes(classes: int) -> int:
    """How many of so many classes are base classes: half of them, one more if the number is odd."""
    return math.ceil(classes / 2)


def harmonic_mean(base_pct: float, new_pct: float) -> float:
    """2bn / (b + n) of base and new accuracy in percent (CoCoOp, arXiv 2203.05557); 0 if both are 0."""
    total = base_pct + new_pct
    return 2 * base_pct * new_pct / total if total else 0.0


def of_confusion(confusion: "np.ndarray") -> dict[str, Any] | None:
    """Images, right ones and accuracy (percent) of either half, and H, of a confusion (C, C); None without images."""
    border = base_classes(len(confusion))
    found: dict[str, Any] = {}
    for name, rows in zip(NAMES, (slice(None, border), slice(border, None))):
        images, correct = int(confusion[rows].sum()), int(confusion.diagonal()[rows].sum())
        if not images:
            return None
        found[name] = {"images": images, "correct": correct, "accuracy_pct": 100.0 * correct / images}
    return {**found, "h_pct": harmonic_mean(*(found[name]["accuracy_pct"] for name in NAMES))}
