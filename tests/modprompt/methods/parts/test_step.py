"""One training step."""

import pytest
import torch
from torch import nn

from modprompt.engine.model import Output
from modprompt.methods.parts.steps import Step, fused
from tests.waiting import Reads


def plain(optimiser):
    """The optimiser as it is."""
    return optimiser


def a_step(scaler=None, make=plain, **settings):
    """A linear model, its step, and a batch."""
    torch.manual_seed(0)
    model, images, labels = nn.Linear(4, 3), torch.randn(5, 4), torch.tensor([0, 1, 2, 0, 1])

    def loss_of(images, labels):
        logits = model(images)
        return Output(logits, images, images), nn.functional.cross_entropy(logits, labels)

    optimiser = torch.optim.SGD(model.parameters(), **{"lr": 0.5, "momentum": 0.9, **settings})
    return model, Step(loss_of, make(optimiser), scaler), images, labels


def scaled(make):
    """A step with the real loss scaler, which a CPU has too."""
    scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
    return a_step(scaler, make, weight_decay=5e-4, nesterov=True)


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
    assert not done[0].output.logits.requires_grad
    assert done[0].output.logits.shape == (5, 3)


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


def test_a_scaled_step_reads_nothing_with_it_and_one_value_without():
    for make, reads in ((fused, 0), (plain, 1)):
        _, step, images, labels = scaled(make)
        step(images, labels)
        with Reads() as within:
            step(images, labels)
        assert within.count == reads


def test_it_makes_the_same_steps_and_leaves_a_spoilt_one_out():
    weights = []
    for make in (fused, plain):
        model, step, images, labels = scaled(make)
        for batch in (images, images * float("inf"), images):
            step(batch, labels)
        weights.append(model.weight.detach())
        assert step.scaler.get_scale() == 4.0
    assert torch.isfinite(weights[0]).all()
    torch.testing.assert_close(*weights)


def test_a_first_step_that_is_spoilt_leaves_no_momentum_behind():
    weights = []
    for make in (fused, plain):
        model, step, images, labels = scaled(make)
        for batch in (images * float("inf"), images * float("inf"), images, images):
            step(batch, labels)
        weights.append(model.weight.detach())
    torch.testing.assert_close(*weights)


def test_an_optimiser_that_dampens_stays_what_it_is():
    optimiser = torch.optim.SGD(nn.Linear(2, 2).parameters(), lr=0.1, momentum=0.9, dampening=0.1)
    assert fused(optimiser) is optimiser


@pytest.mark.parametrize("kind", [torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW])
def test_it_has_the_settings_of_each_group(kind):
    one, two = nn.Linear(2, 2), nn.Linear(2, 2)
    plain = kind([{"params": one.parameters(), "lr": 0.25}, {"params": two.parameters()}], lr=0.5, weight_decay=0.125)
    made = fused(plain)
    assert type(made) is kind
    for old, new in zip(plain.param_groups, made.param_groups):
        assert new == {**old, "fused": True, "foreach": None}
    assert [group["lr"] for group in made.param_groups] == [0.25, 0.5]


def test_an_optimiser_without_such_a_kernel_stays_what_it_is():
    optimiser = torch.optim.RMSprop(nn.Linear(2, 2).parameters())
    assert fused(optimiser) is optimiser
