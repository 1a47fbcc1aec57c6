"""Base and new classes among all: counts that one can do by hand."""

import numpy as np
import pytest

from modprompt.io import base_new


@pytest.mark.parametrize(("classes", "base"), [(2, 1), (5, 3), (10, 5)])
def test_of_an_odd_number_the_base_half_has_one_more(classes, base):
    assert base_new.base_classes(classes) == base


def test_accuracies_of_both_halves_among_all_classes():
    confusion = np.array([[3, 0, 1], [0, 2, 2], [1, 0, 4]])  # two base classes and a new one
    assert base_new.of_confusion(confusion) == {
        "base": {"images": 8, "correct": 5, "accuracy_pct": 62.5},
        "new": {"images": 5, "correct": 4, "accuracy_pct": 80.0},
        "h_pct": pytest.approx(2 * 62.5 * 80 / 142.5),
    }


def test_a_half_without_images_has_no_accuracy():
    assert base_new.of_confusion(np.array([[3, 1], [0, 0]])) is None
