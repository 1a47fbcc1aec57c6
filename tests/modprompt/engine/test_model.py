"""Class features are kept where they cannot change, and made anew when anything that they are made of has changed."""

import copy
import pickle

import pytest
import torch

from modprompt.engine.context import no_context, placeholders
from modprompt.engine.model import PromptedCLIP
from modprompt.engine.schedule import Schedules, modular, no_prompts, replacement
from modprompt.methods.parts.learners import CoupledPromptLearner, IndependentPromptLearner

NAMES = ["cat", "dog", "a golden retriever"]


class Counted:
    """How often a model runs its text encoder."""

    def __init__(self, model):
        self.calls = 0
        model.text_encoder.register_forward_hook(self)

    def __call__(self, *_):
        self.calls += 1


@pytest.fixture
def model(clip_model):
    schedules = Schedules(replacement(3, 2, 1, "text"), modular(3, 2, 1, 1, 2))
    context = placeholders("a photo of a", 1, clip_model)
    return PromptedCLIP(CoupledPromptLearner(NAMES, clip_model, schedules, context), clip_model)


@pytest.fixture
def images():
    return torch.randn(2, 3, 32, 32)


def test_eval_mode_computes_class_features_once_with_the_same_logits(model, images):
    expected, counted = model(images).detach(), Counted(model)
    model.eval()
    with torch.no_grad():
        assert all(torch.equal(model(images), expected) for _ in range(3))
    with torch.inference_mode():
        assert torch.equal(model(images), expected)
    assert counted.calls == 1


def test_where_nothing_changes_values_are_not_compared(model, images, monkeypatch):
    from modprompt.engine import model as module

    looks, plain = [], module.same_values
    monkeypatch.setattr(module, "same_values", lambda *lists: looks.append(1) or plain(*lists))
    model.eval()
    with torch.no_grad():
        model(images)
        model.prompt_learner.ctx.data.add_(1)  # no version says so
        expected, counted = copy.deepcopy(model)(images), Counted(model)
        with model.unchanging():
            assert all(torch.equal(model(images), expected) for _ in range(3))
        assert (counted.calls, len(looks)) == (1, 0)
        model.prompt_learner.ctx.data.add_(1)
        assert not torch.equal(model(images), expected)  # behind it they are again
    assert (counted.calls, len(looks)) == (2, 1)


def test_no_gradient_is_lost_in_eval_mode(model, images):
    model.eval()
    with torch.no_grad():
        model(images)
    model(images).sum().backward()
    assert all(parameter.grad is not None for parameter in model.prompt_learner.parameters())


def optimiser_step(model):
    model.prompt_learner.ctx.grad = torch.ones_like(model.prompt_learner.ctx)
    torch.optim.SGD([model.prompt_learner.ctx], lr=1.0).step()


def fused_step(model):
    """It raises no version of a parameter."""
    model.prompt_learner.ctx.grad = torch.ones_like(model.prompt_learner.ctx)
    torch.optim.AdamW([model.prompt_learner.ctx], lr=1.0, fused=True).step()


def write_through_data(model):
    model.prompt_learner.ctx.data.add_(1)


def loaded_state(model):
    state = {name: value + 1 for name, value in model.prompt_learner.state_dict().items()}
    model.prompt_learner.load_state_dict(state)


def new_parameter(model):
    model.prompt_learner.ctx = torch.nn.Parameter(model.prompt_learner.ctx.detach() + 1)


def other_clip_weights(model):
    with torch.no_grad():
        model.text_encoder.text_projection.mul_(-1)


@pytest.mark.parametrize(
    "change", [optimiser_step, fused_step, write_through_data, loaded_state, new_parameter, other_clip_weights]
)
def test_class_features_are_made_anew_when_a_parameter_has_changed(model, images, change):
    model.eval()
    with torch.no_grad():
        before = model(images)
    change(model)
    with torch.no_grad():
        after = model(images)
    assert not torch.equal(after, before)
    model.train()
    assert torch.equal(model(images).detach(), after)


def test_what_nothing_learns_is_computed_once_in_training_too(clip_model, images):
    schedules = Schedules(no_prompts(3, "text"), replacement(3, 2, 2))
    learner = IndependentPromptLearner(NAMES, clip_model, schedules, no_context("a photo of a", clip_model))
    model = PromptedCLIP(learner, clip_model)
    counted = Counted(model)
    with torch.inference_mode():
        model.eval()(images)
    model.train()
    optimiser = torch.optim.SGD(learner.parameters(), lr=0.1)
    for _ in range(2):
        before = model(images)
        before.sum().backward()
        assert all(parameter.grad is not None for parameter in learner.parameters())
        optimiser.step()
        with torch.no_grad():
            assert not torch.equal(model.eval()(images), before)  # the vision side has changed
        model.train()
    assert counted.calls == 1


@torch.no_grad()
def test_copies_have_the_same_logits_and_are_their_own(model, images):
    expected = model.eval()(images)
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert torch.equal(other(images), expected)
        other.prompt_learner.ctx.add_(1)
        assert not torch.equal(other(images), expected)
        assert torch.equal(model(images), expected)
