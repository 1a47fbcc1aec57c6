"""Logits of a test on their way to the evaluator."""

from types import SimpleNamespace

import pytest
import torch

from modprompt.cli import train
from modprompt.trainers import prompt_trainer
from modprompt.trainers.prompt_trainer import hand_over
from tests.waiting import as_on_a_card


def batches(dtype=torch.float32):
    """Three batches, the last one smaller, of logits with many equal ones."""
    torch.manual_seed(0)
    return [(torch.randint(0, 3, (size, 6)).to(dtype), torch.randint(0, 6, (size,))) for size in (4, 4, 1)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
def test_from_a_card_an_evaluator_has_the_same_batches(monkeypatch, dtype):
    as_on_a_card(monkeypatch)
    found, waiting = [], batches(dtype)
    hand_over(waiting, SimpleNamespace(process=lambda *batch: found.append(batch)))
    assert waiting == []
    for (mine, my_labels), (logits, labels) in zip(found, batches(dtype), strict=True):
        assert mine.max(1)[1].tolist() == logits.max(1)[1].tolist()  # of equal logits the first
        assert torch.equal(mine.to(dtype), logits)
        assert torch.equal(my_labels, labels)


def test_logits_that_are_not_finite_end_it_before_they_are_counted():
    found, (good, labels) = [], batches()[0]
    waiting = [(good, labels), (good * float("nan"), labels), (good, labels)]
    with pytest.raises(FloatingPointError, match="The logits are not finite"):
        hand_over(waiting, SimpleNamespace(process=lambda *batch: found.append(batch)))
    assert len(found) == 1


def test_no_more_stays_on_a_card_than_is_allowed(command, monkeypatch):
    as_on_a_card(monkeypatch)
    counts, plain = [], prompt_trainer.hand_over
    monkeypatch.setattr(
        prompt_trainer, "hand_over", lambda waiting, to: counts.append(len(waiting)) or plain(waiting, to)
    )
    for most in (prompt_trainer.MOST_BYTES, 1):
        monkeypatch.setattr(prompt_trainer, "MOST_BYTES", most)
        assert train.main(command("ZeroshotCLIP", "DATALOADER.TEST.BATCH_SIZE", 4)) == 0
    whole, *each = counts
    assert whole > 1
    assert each == [1] * whole + [0]
