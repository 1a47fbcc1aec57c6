"""Learned normalisations of layers, against a CLIP that has them as its own."""

import copy

import pytest
import torch

from modprompt import CoOp
from modprompt.clip.towers import prompted_image, prompted_text
from modprompt.engine.norms import LayerNorms
from modprompt.use.export_model import ExportedModel
from tests import siglips
from tests.conftest import random_clip

NAMES = ["cat", "a very long name of a thing", "dog"]


def blocks_of(clip_model):
    return [side.transformer.resblocks for side in (prompted_text(clip_model), prompted_image(clip_model.visual))]


@pytest.mark.parametrize("kind", ["stock", "siglip"])
def test_a_clip_with_these_norms_gives_the_same_and_its_own_stay(kind):
    clip_model = random_clip(1) if kind == "stock" else siglips.clip_of(siglips.made("open_clip"))
    torch.manual_seed(0)
    model = CoOp(n_ctx=2).on(clip_model, NAMES)
    other = CoOp(n_ctx=2).on(copy.deepcopy(clip_model), NAMES)
    other.prompt_learner.load_state_dict(model.prompt_learner.state_dict())
    norms = LayerNorms(*blocks_of(clip_model), first_text=1)
    model.prompt_learner.take(norms)
    before, size = copy.deepcopy(clip_model.state_dict()), clip_model.visual.input_resolution
    images = torch.randn(2, 3, size, size)
    torch.testing.assert_close(model(images), other(images), atol=1e-5, rtol=1e-4)
    with torch.no_grad():
        for one in norms.parameters():
            one.add_(0.3 * torch.randn(one.shape))
        for own, blocks in zip((norms.text, norms.vision), blocks_of(other.clip_model)):
            for layer, two in own.items():
                for name, norm in two.items():
                    getattr(blocks[int(layer)], name).load_state_dict(norm.state_dict())
    learned_before = other.prompt_learner.state_dict()
    other = CoOp(n_ctx=2).on(other.clip_model, NAMES)
    other.prompt_learner.load_state_dict(learned_before)
    with torch.no_grad():  # in which class features are kept
        wanted = other.eval()(images)
        torch.testing.assert_close(model.eval()(images), wanted, atol=1e-5, rtol=1e-4)
    assert "0" not in norms.text
    learned = model.train()(images)
    torch.testing.assert_close(learned, wanted, atol=1e-4, rtol=1e-4)
    learned.sin().sum().backward()
    assert all(one.grad is not None and one.grad.abs().max() > 0 for one in norms.parameters())
    exported = ExportedModel(model.eval())
    torch.testing.assert_close(exported(images)[1], wanted.softmax(-1), atol=1e-5, rtol=1e-4)
    assert all(torch.equal(one, clip_model.state_dict()[name]) for name, one in before.items())
