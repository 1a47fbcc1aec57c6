"""Digits: the 1,797 digits inside scikit-learn (UCI Optical Recognition of Handwritten Digits, CC BY 4.0)."""

from __future__ import annotations

import random

import numpy as np
from dassl.data.datasets import DATASET_REGISTRY

from modprompt.data.embedded import EmbeddedDataset

CLASS_NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


@DATASET_REGISTRY.register()
class Digits(EmbeddedDataset):
    """Handwritten digits, 8 x 8, under ROOT/digits; base = zero to four, new = five to nine."""

    dataset_dir = "digits"
    split_file = "split_digits.json"
    class_names = CLASS_NAMES
    origin = "handwritten digits of scikit-learn"

    @staticmethod
    def arrays() -> tuple[np.ndarray, list[int]]:
        """scikit-learn's images, uint8 (1797, 8, 8), and labels."""
        state = random.getstate()
        from sklearn.datasets import load_digits

        random.setstate(state)  # from which the import draws
        digits = load_digits()
        return np.round(digits.images * 255 / 16).astype(np.uint8), digits.target.tolist()  # 0 to 16 -> 0 to 255
