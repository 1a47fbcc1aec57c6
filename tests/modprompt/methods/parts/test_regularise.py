import pytest
import torch

from modprompt.engine.model import Output
from modprompt.methods.parts.losses import FrozenCLIP, SelfRegularisation, Weights, mean_class_features
from modprompt.methods.parts.templates import DIVERSE
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
    assert regularisation(Output(logits, image, text), images, None).item() == pytest.approx(0, abs=1e-6)
    moved = Output(logits, image, text + 0.01)
    assert regularisation(moved, images, None).item() == pytest.approx(0.25, rel=1e-3)
