"""One seed gives the reference's initial values, draw by draw; those of other methods are in golden losses."""

import pytest
import torch

from modprompt import CoOp
from modprompt.clip.build import layers_of
from modprompt.engine.context import no_context
from modprompt.engine.schedule import Schedules, no_prompts, replacement
from modprompt.methods.parts.learners import IndependentPromptLearner
from tests import plain_neighbours as plain

NAMES = ["Annual Crop Land", "Forest", "sea_or_lake"]


@pytest.mark.parametrize("csc", [False, True])
def test_contexts_of_all_and_of_single_classes(clip_model, csc):
    torch.manual_seed(3)
    mine, after = CoOp(n_ctx=5, csc=csc).on(clip_model, NAMES).prompt_learner.state_dict(), torch.rand(1)
    torch.manual_seed(3)
    expected = plain.initial_coop(5, 64, 3 if csc else None)
    assert torch.rand(1) == after
    assert set(mine) == {"ctx"}
    assert torch.equal(mine["ctx"], expected["ctx"])


def test_independent_prompts_are_normal_and_seeded(clip_model):
    text, vision = layers_of(clip_model)
    schedules = Schedules(no_prompts(text, "text"), replacement(vision, 3, 50))
    found = []
    for _ in range(2):
        torch.manual_seed(3)
        context = no_context("a photo of a", clip_model)
        found.append(IndependentPromptLearner(NAMES, clip_model, schedules, context).state_dict())
    assert set(found[0]) == {"vision_prompts.0", "vision_prompts.1", "vision_prompts.2"}
    for name, value in found[0].items():
        assert torch.equal(value, found[1][name])
        assert value.std().item() == pytest.approx(0.02, rel=0.05)
    assert not torch.equal(found[0]["vision_prompts.0"], found[0]["vision_prompts.1"])
