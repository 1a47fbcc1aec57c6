"""What a form takes and refuses."""

import pytest
import torch

from modprompt.io.safe_open import Refused
from modprompt.io.schema import exactly


@pytest.mark.parametrize(("wanted", "value"), [(3, 3), (None, None), ("a", "a"), ([0, 1], [0, 1])])
def test_exactly_takes_the_value_itself(wanted, value):
    exactly(wanted)(value, "part")


@pytest.mark.parametrize(
    ("wanted", "value"),
    [
        (3, 3.0),
        (3, True),
        ("a", "b"),
        ([0, 1], [0]),
        ([0, 1], [0, True]),
        ([0, 1], (0, 1)),
        ([0], [torch.full((2,), torch.nan)]),
        (None, torch.zeros(2)),
    ],
)
def test_exactly_refuses_all_else_tensors_too(wanted, value):
    with pytest.raises(Refused, match="part"):
        exactly(wanted)(value, "part")
