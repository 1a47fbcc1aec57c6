"""Ties go to the first, also where rounding has made them unequal."""

import pytest
import torch

from modprompt.active.blocks import first_largest


@pytest.mark.parametrize(
    ("values", "found"),
    [([1.0], 0), ([0.0, 2.0, 2.0], 1), ([0.0, 2.0, 2.0 + 1e-15], 1), ([2.0, 2.0 + 1e-9], 1), ([-1.0, 0.0, 0.0], 1)],
)
def test_first_of_the_largest(values, found):
    assert first_largest(torch.tensor(values, dtype=torch.float64)) == found
