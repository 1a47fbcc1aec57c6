"""Optimisers of one kernel, behind a loss scaler."""

import pytest
import torch
from torch import nn

from modprompt.engine.model import Output
from modprompt.methods.parts.fused import fused
from modprompt.methods.parts.step import Step
from tests.fake_cuda import child
from tests.fake_cuda.needed import needs_fake_cuda
from tests.waiting import Reads


def a_model():
    torch.manual_seed(0)
    return nn.Linear(4, 3), torch.randn(5, 4), torch.tensor([0, 1, 2, 0, 1])


def scaled_step(model, optimiser):
    """A step with the real loss scaler, which a CPU has too."""

    def loss_of(images, labels):
        logits = model(images)
        return Output(logits, images, images), nn.functional.cross_entropy(logits, labels)

    return Step(loss_of, optimiser, torch.amp.GradScaler("cpu", init_scale=8.0))


SGD = {"lr": 0.5, "momentum": 0.9, "weight_decay": 5e-4, "dampening": 0.0, "nesterov": True}


def test_a_scaled_step_reads_nothing_with_it_and_one_value_without():
    for make, reads in ((fused, 0), (lambda optimiser: optimiser, 1)):
        model, images, labels = a_model()
        step = scaled_step(model, make(torch.optim.SGD(model.parameters(), **SGD)))
        step(images, labels)
        with Reads() as within:
            step(images, labels)
        assert within.count == reads


def test_it_makes_the_same_steps_and_leaves_a_spoilt_one_out():
    weights = []
    for make in (fused, lambda optimiser: optimiser):
        model, images, labels = a_model()
        step = scaled_step(model, make(torch.optim.SGD(model.parameters(), **SGD)))
        for batch in (images, images * float("inf"), images):
            step(batch, labels)
        weights.append(model.weight.detach())
        assert step.scaler.get_scale() == 4.0
    assert torch.isfinite(weights[0]).all()
    torch.testing.assert_close(*weights)


def test_a_first_step_that_is_spoilt_leaves_no_momentum_behind():
    weights = []
    for make in (fused, lambda optimiser: optimiser):
        model, images, labels = a_model()
        junk = [torch.full_like(parameter, float("nan")) for parameter in model.parameters() for _ in range(20)]
        del junk  # what is not written to holds it still
        step = scaled_step(model, make(torch.optim.SGD(model.parameters(), **SGD)))
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


def test_it_stays_so_behind_the_state_of_one_that_was_not():
    model, images, labels = a_model()
    plain = torch.optim.SGD(model.parameters(), **SGD)
    model(images).sum().backward()
    plain.step()
    made = fused(torch.optim.SGD(model.parameters(), **SGD))
    made.load_state_dict(plain.state_dict())
    assert made.param_groups[0]["fused"]
    assert torch.equal(made.state[model.weight]["momentum_buffer"], plain.state[model.weight]["momentum_buffer"])


@pytest.mark.slow
@needs_fake_cuda
@pytest.mark.parametrize("kind", ["AdamW", "Adam"])
def test_it_counts_steps_on_the_card_behind_the_state_of_one_that_did_not(kind):  # on_a_card.py
    assert child.run("tests.modprompt.methods.parts.on_a_card:counted", kind) == [["cuda", "torch.float32"]] * 2


def test_an_optimiser_without_such_a_kernel_stays_what_it_is():
    optimiser = torch.optim.RMSprop(nn.Linear(2, 2).parameters())
    assert fused(optimiser) is optimiser
