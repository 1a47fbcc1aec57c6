"""One seed gives the reference's initial values, draw by draw."""

import pytest
import torch

from modprompt.clip.build import layers_of
from modprompt.engine.context import no_context, random_context, words_or_random
from modprompt.engine.schedule import Schedules, no_prompts, replacement, shallow
from modprompt.methods.cocoop import ConditionalPromptLearner
from modprompt.methods.parts.coupled import CoupledPromptLearner
from modprompt.methods.parts.independent import IndependentPromptLearner
from tests import plain_neighbours as plain

NAMES = ["Annual Crop Land", "Forest", "sea_or_lake"]
T, V, E = 64, 128, 32  # widths of conftest.random_clip


def text_only(clip_model, n_ctx):
    text, vision = layers_of(clip_model)
    return Schedules(shallow(text, n_ctx, "text"), no_prompts(vision))


def replaced(clip_model, n_ctx, depth):
    text, vision = layers_of(clip_model)
    return Schedules(replacement(text, depth, n_ctx, "text"), replacement(vision, depth, n_ctx))


def drawn(build):
    """The state of what `build` makes after a seed, and the next number of the stream."""
    torch.manual_seed(3)
    return build(), torch.rand(1)


@pytest.mark.parametrize("n_cls", [None, 3])
def test_coop(clip_model, n_cls):
    def ours():
        context = random_context(5, clip_model, n_cls)
        return IndependentPromptLearner(NAMES, clip_model, text_only(clip_model, 5), context).state_dict()

    mine, after = drawn(ours)
    expected, expected_after = drawn(lambda: plain.initial_coop(5, T, n_cls))
    assert after == expected_after
    assert set(mine) == {"ctx"}
    assert torch.equal(mine["ctx"], expected["ctx"])


def test_cocoop(clip_model):
    def ours():
        context = random_context(4, clip_model)
        return ConditionalPromptLearner(NAMES, clip_model, text_only(clip_model, 4), context).state_dict()

    mine, after = drawn(ours)
    expected, expected_after = drawn(lambda: plain.initial_cocoop(4, T, E))
    assert after == expected_after
    assert set(mine) == set(expected)
    assert all(torch.equal(mine[name], value) for name, value in expected.items())


@pytest.mark.parametrize("n_ctx", [2, 5])
def test_maple(clip_model, n_ctx):
    from clip import clip

    words = clip_model.token_embedding(clip.tokenize("a photo of a").long())[0, 1 : 1 + n_ctx].detach()

    def ours():
        context = words_or_random("a photo of a" if n_ctx == 2 else "", n_ctx, clip_model)
        return CoupledPromptLearner(NAMES, clip_model, replaced(clip_model, n_ctx, 3), context).state_dict()

    mine, after = drawn(ours)
    mine = {name.replace("txt2img_proj.0", "compound_prompt_projections"): value for name, value in mine.items()}
    expected, expected_after = drawn(lambda: plain.initial_maple(n_ctx, T, V, 3, words if n_ctx == 2 else None))
    assert after == expected_after
    assert set(mine) == set(expected)
    assert all(torch.equal(mine[name], value) for name, value in expected.items())


def test_independent_prompts_are_normal_and_seeded(clip_model):
    def ours():
        context = no_context("a photo of a", clip_model)
        text, vision = layers_of(clip_model)
        schedules = Schedules(no_prompts(text, "text"), replacement(vision, 3, 50))
        return IndependentPromptLearner(NAMES, clip_model, schedules, context).state_dict()

    mine, _ = drawn(ours)
    again, _ = drawn(ours)
    assert set(mine) == {"vision_prompts.0", "vision_prompts.1", "vision_prompts.2"}
    for name, value in mine.items():
        assert torch.equal(value, again[name])
        assert value.std().item() == pytest.approx(0.02, rel=0.05)
    assert not torch.equal(mine["vision_prompts.0"], mine["vision_prompts.1"])
