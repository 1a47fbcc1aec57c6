import pytest
import torch
from torch import nn

from modprompt.methods.parts.capabilities import GaussianAverage


def test_average_is_the_weighted_sum():
    average, learner = GaussianAverage(3, 2, 1), nn.Linear(1, 1, bias=False)
    for value in (1.0, 2.0, 4.0):
        average.add({"weight": torch.tensor([[value]])})
    average.load_into(dict(learner.named_parameters()))
    side = torch.exp(torch.tensor(-0.5)).item()
    assert learner.weight.item() == pytest.approx((side + 2 + 4 * side) / (1 + 2 * side))


def test_average_goes_on_from_its_state():
    one, two = GaussianAverage(2, 1, 1), GaussianAverage(2, 1, 1)
    one.add({"w": torch.ones(2)})
    two.load_state_dict(one.state_dict())
    for average in (one, two):
        average.add({"w": torch.zeros(2)})
    assert torch.equal(one.total["w"], two.total["w"])


def test_mean_far_outside_the_epochs_still_gives_weights():
    assert GaussianAverage(5, 500, 1).weights.tolist() == pytest.approx([0, 0, 0, 0, 1])
