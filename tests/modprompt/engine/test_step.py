"""One training step."""

import pytest
import torch
from torch import nn

from modprompt.engine.precision import fused, step
from tests.waiting import Reads


def plain(optimiser):
    """The optimiser as it is."""
    return optimiser


def a_step(scaler=None, make=plain, **settings):
    """A linear model, its images, and a step on images, which returns the loss."""
    torch.manual_seed(0)
    model, images, labels = nn.Linear(4, 3), torch.randn(5, 4), torch.tensor([0, 1, 2, 0, 1])
    optimiser = make(torch.optim.SGD(model.parameters(), lr=0.5, momentum=0.9, **settings))

    def of(batch):
        loss = nn.functional.cross_entropy(model(batch), labels)
        step(loss, optimiser, scaler)
        return loss.item()

    return model, images, of


def scaled(make):
    """A step with the real loss scaler, which a CPU has too."""
    scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
    return a_step(scaler, make, weight_decay=5e-4, nesterov=True)


def written_out(steps):
    """Losses and weights of the same steps as a plain loop."""
    torch.manual_seed(0)
    model, images, labels = nn.Linear(4, 3), torch.randn(5, 4), torch.tensor([0, 1, 2, 0, 1])
    optimiser, losses = torch.optim.SGD(model.parameters(), lr=0.5, momentum=0.9), []
    for _ in range(steps):
        loss = nn.functional.cross_entropy(model(images), labels)
        losses.append(loss.item())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return losses, model.weight


def test_steps_are_those_of_a_plain_loop_with_a_scaled_loss_too():
    losses, weight = written_out(3)
    for scaler in (None, torch.amp.GradScaler("cpu", init_scale=8.0)):  # a power of two is exact
        model, images, of = a_step(scaler)
        assert [of(images) for _ in range(3)] == losses
        assert torch.equal(model.weight, weight)


def test_alone_only_the_optimisers_parameters_get_gradients():
    one, other = nn.Linear(2, 2), nn.Linear(2, 2)
    step(other(one(torch.ones(1, 2))).sum(), torch.optim.SGD(other.parameters(), lr=0.1), alone=True)
    assert one.weight.grad is None
    assert other.weight.grad is not None


def test_a_scaled_step_reads_nothing_with_it_and_one_value_without():
    for make, reads in ((fused, 0), (plain, 1)):
        _, images, of = scaled(make)
        of(images)
        with Reads() as within:
            of(images)
        assert within.count == reads + 1  # and the loss, here


@pytest.mark.parametrize("spoilt", [(1,), (0, 1)])
def test_it_makes_the_same_steps_and_leaves_spoilt_ones_out(spoilt):
    """Of a first one no momentum is left behind."""
    weights = []
    for make in (fused, plain):
        model, images, of = scaled(make)
        for number in range(4):
            of(images * (float("inf") if number in spoilt else 1))
        weights.append(model.weight.detach())
    assert torch.isfinite(weights[0]).all()
    torch.testing.assert_close(*weights)


@pytest.mark.parametrize("kind", [torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW])
def test_it_has_the_settings_of_each_group(kind):
    one, two = nn.Linear(2, 2), nn.Linear(2, 2)
    plain = kind([{"params": one.parameters(), "lr": 0.25}, {"params": two.parameters()}], lr=0.5, weight_decay=0.125)
    made = fused(plain)
    assert type(made) is kind
    for old, new in zip(plain.param_groups, made.param_groups):
        assert new == {**old, "fused": True, "foreach": None}
    assert [group["lr"] for group in made.param_groups] == [0.25, 0.5]


def test_an_optimiser_that_dampens_or_without_such_a_kernel_stays_what_it_is():
    parameters = [*nn.Linear(2, 2).parameters()]
    for made in (torch.optim.SGD(parameters, lr=0.1, momentum=0.9, dampening=0.1), torch.optim.RMSprop(parameters)):
        assert fused(made) is made
