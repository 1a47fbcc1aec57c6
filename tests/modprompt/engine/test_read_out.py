"""A second feature of each image, of the prompt tokens that leave the last layer: against every token in every layer."""

import pytest
import torch

from modprompt.engine.encoders import VisionEncoder
from modprompt.engine.read_out import MeanTokens
from modprompt.engine.schedule import BEHIND_LN_PRE, Schedule
from tests.conftest import random_clip
from tests.test_exactness import own_forward

STEPS = {"at the end": [(0, 0), (0, 0), (0, 3)], "carried": [(0, 2), (1, 3), (0, 0)], "alone": [(0, 1), (1, 1), (1, 1)]}


def plain(clip_model, images, steps, tokens, projection, added):
    visual, start = clip_model.visual, 5  # the class token and four patches
    x = visual.conv1(images).flatten(2).permute(0, 2, 1)
    x = torch.cat([visual.class_embedding.expand(len(x), 1, -1), x], dim=1) + visual.positional_embedding
    x = visual.ln_pre(x)
    for block, (remove, _), new in zip(visual.transformer.resblocks, steps, tokens):
        own = x[:, :0] if new is None else new.expand(len(x), -1, -1)
        x = own_forward(block, torch.cat([x[:, : x.shape[1] - remove], own], dim=1), None)
    x = visual.ln_post(x)
    read = torch.stack([row[start:].mean(0) for row in x])
    return x[:, 0] @ visual.proj, read @ (visual.proj + projection if added else projection)


@pytest.mark.parametrize("added", [False, True])
@pytest.mark.parametrize("steps", STEPS.values(), ids=STEPS)
def test_features_and_gradients_are_those_of_whole_sequences(steps, added):
    clip_model = random_clip(0).requires_grad_(False)
    images, projection = torch.randn(2, 3, 32, 32), torch.randn(128, 32, requires_grad=True)
    tokens = [torch.randn(add, 128, requires_grad=True) if add else None for _, add in steps]
    encoder = VisionEncoder(clip_model.visual, Schedule(steps, "vision", BEHIND_LN_PRE))
    both = encoder(images, tokens, read=MeanTokens(projection, added))
    expected = torch.cat(plain(clip_model, images, steps, tokens, projection, added), dim=-1)
    torch.testing.assert_close(both, expected, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(both[:, :32], encoder(images, tokens), atol=1e-5, rtol=1e-5)
    learned, weights = [projection, *(one for one in tokens if one is not None)], torch.randn(2, 64)
    mine, theirs = (torch.autograd.grad((found * weights).sum(), learned) for found in (both, expected))
    for one, other in zip(mine, theirs):
        torch.testing.assert_close(one, other, atol=1e-3, rtol=1e-4)
