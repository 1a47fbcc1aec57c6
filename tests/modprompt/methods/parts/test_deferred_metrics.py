"""Numbers of steps that are read together."""

import pytest
import torch

from modprompt.methods.parts import deferred_metrics
from modprompt.methods.parts.deferred_metrics import Place, Unread
from tests.waiting import Reads, as_on_a_card


def test_numbers_of_a_card_are_read_together_and_once(monkeypatch):
    as_on_a_card(monkeypatch)
    reads, values = [], deferred_metrics._values
    monkeypatch.setattr(deferred_metrics, "_values", lambda tensors: reads.append(len(tensors)) or values(tensors))
    said = Unread()
    with Reads() as within:
        said.add_loss(torch.tensor(0.1), Place(0, 4))
        said.add(4, {"loss": torch.tensor(0.1), "acc": torch.tensor([25.0]), "rate": 0.5})
        said.add(5, None)
        said.add(6, {"count": torch.tensor(3), "double": torch.tensor(0.1, dtype=torch.float64)})
    assert within.count == 0
    single = torch.tensor(0.1).item()
    assert said.read() == [
        (4, {"loss": single, "acc": 25.0, "rate": 0.5}),
        (5, {}),
        (6, {"count": 3.0, "double": 0.1}),
    ]
    assert reads == [5]
    assert said.read() == []


def test_a_number_is_what_it_was_at_its_step(monkeypatch):
    as_on_a_card(monkeypatch)
    said, gate = Unread(), torch.nn.Parameter(torch.zeros(()))
    for step in range(3):
        said.add(step, {"gate": gate})
        gate.data += 1
    assert [numbers["gate"] for _, numbers in said.read()] == [0, 1, 2]


def test_on_a_cpu_numbers_are_read_at_once_and_a_loss_is_checked_before_the_step():
    said = Unread()
    with Reads() as within:
        said.add(0, {"loss": torch.tensor(0.5)})
    assert within.count == 1
    assert said.read() == [(0, {"loss": 0.5})]
    said.check(torch.tensor(1.0), Place(0, 0))
    with pytest.raises(FloatingPointError, match="the loss is inf at epoch 3, step 8: lower OPTIM.LR or"):
        said.check(torch.tensor(float("inf")), Place(2, 7))


def test_the_first_loss_of_a_card_that_is_not_finite_is_named_when_it_is_read(monkeypatch):
    as_on_a_card(monkeypatch)
    said = Unread()
    for step, loss in enumerate([0.5, float("-inf"), float("nan")]):
        said.check(torch.tensor(loss), Place(1, step))
        said.add_loss(torch.tensor(loss), Place(1, step))
    with pytest.raises(FloatingPointError, match="the loss is -inf at epoch 2, step 2: .* checkpoint is untouched"):
        said.read()


def looked_at_after_a_step():
    said = Unread()
    said.add_loss(torch.tensor(0.5), Place(0, 0))
    said.add(0, {"loss": torch.tensor(0.5)})
    said.require_finite()
    return said


def test_losses_are_looked_at_alone_and_numbers_stay(monkeypatch):
    as_on_a_card(monkeypatch)
    said = looked_at_after_a_step()
    with Reads() as within:
        said.require_finite()
    assert within.count == 0  # each loss is read once
    said.add_loss(torch.tensor(float("nan")), Place(0, 1))
    for look in (said.require_finite, said.require_finite, said.read):  # who goes on is told again
        with pytest.raises(FloatingPointError, match="the loss is nan at epoch 1, step 2: "):
            look()


def test_numbers_are_there_behind_a_look_at_losses(monkeypatch):
    as_on_a_card(monkeypatch)
    said = looked_at_after_a_step()
    assert said.read() == [(0, {"loss": 0.5})]
