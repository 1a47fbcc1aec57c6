"""Numbers of steps that are read together."""

import pytest
import torch

from modprompt.trainers.unread import Place, Unread
from tests.waiting import Reads, as_on_a_card


def test_numbers_of_a_card_are_read_together_and_once(monkeypatch):
    as_on_a_card(monkeypatch)
    unread, stacks, stack = Unread(), [], torch.stack
    monkeypatch.setattr(torch, "stack", lambda tensors: stacks.append(len(tensors)) or stack(tensors))
    with Reads() as within:
        unread.add_loss(torch.tensor(0.1), Place(0, 4))
        unread.add(Place(0, 4), {"loss": torch.tensor(0.1), "acc": torch.tensor([25.0]), "rate": 0.5})
        unread.add(Place(0, 5), {})
        unread.add(Place(0, 6), {"count": torch.tensor(3), "double": torch.tensor(0.1, dtype=torch.float64)})
    assert within.count == 0
    single = torch.tensor(0.1).item()
    assert unread.read() == [
        ((0, 4), {"loss": single, "acc": 25.0, "rate": 0.5}),
        ((0, 5), {}),
        ((0, 6), {"count": 3.0, "double": 0.1}),
    ]
    assert stacks == [5]
    assert unread.read() == []


def test_a_number_is_what_it_was_at_its_step(monkeypatch):
    as_on_a_card(monkeypatch)
    unread, gate = Unread(), torch.nn.Parameter(torch.zeros(()))
    for step in range(3):
        unread.add(Place(0, step), {"gate": gate})
        gate.data += 1
    assert [numbers["gate"] for _, numbers in unread.read()] == [0, 1, 2]


def test_on_a_cpu_numbers_are_read_at_once():
    unread = Unread()
    with Reads() as within:
        unread.add(Place(0, 0), {"loss": torch.tensor(0.5)})
    assert within.count == 1
    assert unread.read() == [((0, 0), {"loss": 0.5})]


def test_the_first_loss_that_is_not_finite_is_named_when_it_is_read_and_again(monkeypatch):
    as_on_a_card(monkeypatch)
    unread = Unread()
    for step, loss in enumerate([0.5, float("-inf"), float("nan")]):
        unread.add_loss(torch.tensor(loss), Place(1, step))
    for look in (unread.check, unread.check, unread.read):
        with pytest.raises(FloatingPointError, match="The loss is -inf at epoch 2, step 2. .* checkpoint is unchanged"):
            look()


def test_losses_are_checked_and_numbers_stay(monkeypatch):
    as_on_a_card(monkeypatch)
    unread = Unread()
    unread.add_loss(torch.tensor(0.5), Place(0, 0))
    unread.add(Place(0, 0), {"loss": torch.tensor(0.5)})
    unread.check()
    assert unread.read() == [((0, 0), {"loss": 0.5})]
