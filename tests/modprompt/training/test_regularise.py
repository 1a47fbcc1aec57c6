import pytest
import torch
from torch import nn

from modprompt.engine.model import Output
from modprompt.errors import UserError
from modprompt.methods.templates import DIVERSE
from modprompt.training.regularise import GaussianAverage, SelfRegularisation, Weights, mean_class_features
from modprompt.training.teacher import FrozenCLIP
from tests import plain_neighbours as plain


def test_class_features_are_the_mean_of_the_raw_ones(clip_model):
    names = ["cat", "a_dog"]
    mine = mean_class_features(FrozenCLIP(clip_model), names, DIVERSE[:5])
    expected = plain.mean_template_features(clip_model, ["cat", "a dog"], DIVERSE[:5])
    torch.testing.assert_close(mine, expected, atol=1e-5, rtol=1e-5)


def test_sixty_different_templates():
    assert len(set(DIVERSE)) == 60
    assert all(template.count("{}") == 1 for template in DIVERSE)


def test_nothing_is_lost_where_nothing_moved(clip_model):
    frozen = FrozenCLIP(clip_model)
    images = torch.randn(3, 3, 32, 32)
    text = torch.nn.functional.normalize(torch.randn(4, 32), dim=-1)
    image = torch.nn.functional.normalize(frozen.encode_image(images), dim=-1)
    logits = clip_model.logit_scale.exp() * image @ text.t()
    regularisation = SelfRegularisation(frozen, text, Weights(25, 10, 1))
    assert regularisation(Output(logits, image, text), images).item() == pytest.approx(0, abs=1e-6)
    moved = Output(logits, image, text + 0.01)
    assert regularisation(moved, images).item() == pytest.approx(0.25, rel=1e-3)


def test_average_is_the_weighted_sum():
    average, learner = GaussianAverage(3, 2, 1), nn.Linear(1, 1, bias=False)
    for value in (1.0, 2.0, 4.0):
        average.add({"weight": torch.tensor([[value]])})
    average.load_into(learner)
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


@pytest.mark.parametrize("std", [0, -1])
def test_spread_must_be_positive(std):
    with pytest.raises(UserError, match="GPA_STD must be more than 0"):
        GaussianAverage(5, 1, std)
