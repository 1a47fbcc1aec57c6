"""One training step."""

import pytest
import torch
from torch import nn

from modprompt.engine.model import Output
from modprompt.methods.parts.step import Step


def a_step(scaler=None):
    """A linear model, its step, and a batch."""
    torch.manual_seed(0)
    model, images, labels = nn.Linear(4, 3), torch.randn(5, 4), torch.tensor([0, 1, 2, 0, 1])

    def loss_of(images, labels):
        logits = model(images)
        return Output(logits, images, images), nn.functional.cross_entropy(logits, labels)

    optimiser = torch.optim.SGD(model.parameters(), lr=0.5, momentum=0.9)
    return model, Step(loss_of, optimiser, scaler), images, labels


def written_out(steps):
    """Losses and weights of the same steps without the class."""
    model, step, images, labels = a_step()
    losses = []
    for _ in range(steps):
        loss = step.loss_of(images, labels)[1]
        losses.append(loss.item())
        step.optimiser.zero_grad()
        loss.backward()
        step.optimiser.step()
    return losses, model.weight


def test_steps_are_those_of_a_plain_loop():
    model, step, images, labels = a_step()
    done = [step(images, labels) for _ in range(3)]
    losses, weight = written_out(3)
    assert [one.loss.item() for one in done] == losses
    assert torch.equal(model.weight, weight)
    assert done[0].loss.dtype == torch.float32
    assert not done[0].loss.requires_grad
    assert not done[0].logits.requires_grad
    assert done[0].logits.shape == (5, 3)


def test_a_loss_that_is_refused_changes_no_parameter():
    model, step, images, labels = a_step()
    before = model.weight.detach().clone()

    def refused(images, labels):
        raise FloatingPointError("the loss")

    step.loss_of = refused
    with pytest.raises(FloatingPointError, match="the loss"):
        step(images, labels)
    assert torch.equal(model.weight, before)


class Doubling:
    """A loss scaler by 2, which a power of two makes exact."""

    def __init__(self):
        self.calls = []

    def scale(self, loss):
        """Twice the loss."""
        self.calls.append("scale")
        return loss * 2

    def step(self, optimiser):
        """The optimiser's, on half the gradients."""
        self.calls.append("step")
        for group in optimiser.param_groups:
            for parameter in group["params"]:
                parameter.grad /= 2
        optimiser.step()

    def update(self):
        """Called once per step."""
        self.calls.append("update")


def test_a_scaled_loss_has_the_steps_of_one_that_is_not():
    scaler = Doubling()
    model, step, images, labels = a_step(scaler)
    done = [step(images, labels) for _ in range(2)]
    losses, weight = written_out(2)
    assert scaler.calls == ["scale", "step", "update"] * 2
    assert [one.loss.item() for one in done] == losses  # of the loss, not of the scaled one
    assert torch.equal(model.weight, weight)
