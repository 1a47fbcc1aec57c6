"""Logits on their way to the evaluator."""

import pytest
import torch

from modprompt.trainers import predictions
from modprompt.trainers.predictions import Predictions
from tests.waiting import Reads, as_on_a_card


class Evaluator:
    """Keeps what it is given."""

    def __init__(self):
        self.batches = []

    def process(self, mo, gt):
        """A batch."""
        self.batches.append((mo, gt))

    @property
    def predicted(self):
        """As Dassl's evaluator has it."""
        return [mo.max(1)[1].tolist() for mo, _ in self.batches]


def batches(dtype=torch.float32):
    """Three batches, the last one smaller, of logits with many equal ones."""
    torch.manual_seed(0)
    return [(torch.randint(0, 3, (size, 6)).to(dtype), torch.randint(0, 6, (size,))) for size in (4, 4, 1)]


def handed_over(dtype=torch.float32):
    evaluator = Evaluator()
    kept = Predictions(evaluator)
    for logits, labels in batches(dtype):
        kept.add(logits, labels)
    before = len(evaluator.batches)
    kept.hand_over()
    return evaluator, before


def test_on_a_cpu_the_evaluator_has_each_batch_at_once():
    evaluator, before = handed_over()
    assert before == len(evaluator.batches) == 3


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
def test_from_a_card_it_has_the_same_batches_at_the_end(monkeypatch, dtype):
    at_once = [logits.max(1)[1].tolist() for logits, _ in batches(dtype)]
    as_on_a_card(monkeypatch)
    evaluator, before = handed_over(dtype)
    assert before == 0
    assert evaluator.predicted == at_once  # of equal logits the first
    for (mine, my_labels), (logits, labels) in zip(evaluator.batches, batches(dtype)):
        assert torch.equal(mine.to(dtype), logits)
        assert torch.equal(my_labels, labels)


def test_a_batch_of_a_card_is_not_read(monkeypatch):
    as_on_a_card(monkeypatch)
    kept = Predictions(Evaluator())
    with Reads() as within:
        for logits, labels in batches():
            kept.add(logits, labels)
    assert within.count == 0


def test_no_more_stays_on_a_card_than_is_allowed(monkeypatch):
    as_on_a_card(monkeypatch)
    monkeypatch.setattr(predictions, "MOST_BYTES", 2 * 4 * 6 * 4)  # two batches
    evaluator, before = handed_over()
    assert (before, len(evaluator.batches)) == (2, 3)


def test_logits_that_are_not_finite_end_it_before_they_are_counted(monkeypatch):
    as_on_a_card(monkeypatch)
    evaluator = Evaluator()
    kept = Predictions(evaluator)
    kept.add(torch.zeros(2, 3), torch.zeros(2))
    kept.add(torch.full((2, 3), float("nan")), torch.zeros(2))
    with pytest.raises(FloatingPointError, match="the logits are not finite"):
        kept.hand_over()
    assert len(evaluator.batches) == 1
