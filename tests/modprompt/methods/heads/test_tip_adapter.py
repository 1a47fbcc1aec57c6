"""Tip-Adapter's cache, training and search against the golden numbers, and a plain search."""

import numpy as np
import pytest
import torch

from modprompt.errors import UserError
from modprompt.methods.heads.base import cosines, unit
from modprompt.methods.heads.method import Grid
from modprompt.methods.heads.tip_adapter import Found, TipAdapterHead, search
from tests.modprompt.methods.heads.golden import (
    BANK,
    FEATURES,
    GOLDEN,
    NAMES,
    SCALE,
    WIDTH,
    accuracy_and_sum,
    like,
    step,
)

KEY = "accuracy_and_logit_sum: zero-shot val, start val, zero-shot test, found test"
OF_F = "F: accuracy_and_logit_sum: each step, and test after each epoch; last: found test"


def head_of(alpha, lr=None):
    head = TipAdapterHead(NAMES, WIDTH, alpha, 1.0, lr)
    head.build(BANK, SCALE)
    return head, head.pooled(FEATURES["text"])


def searched(head, text, scale, steps):
    return head.search(FEATURES["val"], SCALE * cosines(FEATURES["val"], text), FEATURES["val_y"], Grid(*scale, *steps))


@pytest.mark.parametrize("case", ["f_tip", "f_tip_wide_search"])
def test_cache_and_search_are_the_golden_ones(case):
    golden = GOLDEN[case]
    head, text = head_of(golden["cfg"]["init_alpha"])
    like(head.keys.t(), golden["keys"])
    like(head.values, golden["values"])
    like(text.t(), golden["text"])
    assert golden[KEY][1] == list(accuracy_and_sum(head, text, "val"))
    found = searched(head, text, golden["cfg"]["search_scale"], golden["cfg"]["search_step"])
    assert [found.beta, found.alpha] == golden["found_beta_alpha"][0]
    assert golden[KEY][3] == list(accuracy_and_sum(head, text))


def test_training_and_the_search_behind_it_are_the_golden_ones():
    golden, cfg = GOLDEN["f_tip"], GOLDEN["f_tip"]["cfg"]
    torch.manual_seed(1)
    head, text = head_of(cfg["init_alpha"], cfg["lr"])
    (optimiser, schedule), steps, tests = head.rates(12), [], []
    for epoch in range(4):
        order = np.random.RandomState(100 + epoch).permutation(20)
        for start in range(0, 20, 8):
            rows = order[start : start + 8]
            steps.append(step(head, optimiser, BANK.views[epoch % 3][rows], text, BANK.labels[0][rows]))
            schedule.step()
        tests.append(accuracy_and_sum(head, text))
    assert [one.loss.item() for one in steps] == pytest.approx(golden["losses"], abs=1e-5)
    assert [one.logits.double().sum().item() for one in steps] == pytest.approx(golden["logit_sums"], rel=1e-5)
    assert [golden[OF_F][k] for k in (3, 7, 11, 15)] == [list(one) for one in tests]


def test_the_linear_layer_of_the_reference_moves_later_draws():
    torch.manual_seed(1)
    head_of(1.0)
    still = torch.rand(1)
    torch.manual_seed(1)
    head_of(1.0, lr=0.1)
    moved = torch.rand(1)
    torch.manual_seed(1)
    assert torch.equal(still, torch.rand(1))
    torch.manual_seed(1)
    torch.empty(20, WIDTH).uniform_()
    assert torch.equal(moved, torch.rand(1))


def test_search_takes_the_first_of_equals_as_a_plain_search_does():
    generator = torch.Generator().manual_seed(0)
    logits, affinity = torch.randn(12, 3, generator=generator), torch.rand(12, 6, generator=generator)
    values, labels = torch.eye(3).repeat(2, 1), torch.arange(12) % 3
    best = Found(0.0, 0.0, -1, 12)
    for i in range(5):
        for j in range(4):
            beta, alpha = 0.1 + i * (4 - 0.1) / 5, 0.1 + j * (2 - 0.1) / 4
            right = 0
            for row in range(12):
                cached = sum(values[k] * torch.exp(-beta * (1 - affinity[row, k])) for k in range(6))
                right += int((logits[row] + alpha * cached).argmax() == labels[row])
            if right > best.correct:
                best = Found(beta, alpha, right, 12)
    assert search(logits, affinity, values, labels, Grid(4, 2, 5, 4)) == pytest.approx(best)


def test_other_classes_have_their_columns_by_name_and_new_ones_nothing():
    head, text = head_of(2.0)
    other = head.for_classes(["new", NAMES[2], NAMES[0]])
    chosen = torch.stack([text[0], text[2], text[0]])
    added = other(FEATURES["test"], chosen, SCALE) - SCALE * unit(FEATURES["test"]) @ chosen.t()
    whole = head(FEATURES["test"], text, SCALE) - SCALE * unit(FEATURES["test"]) @ text.t()
    torch.testing.assert_close(added[:, 1:], whole[:, [2, 0]], atol=1e-4, rtol=0)
    assert added[:, 0].abs().max() < 1e-4
    assert head.for_classes(NAMES) is head


def test_take_refuses_a_cache_that_is_none():
    head, _ = head_of(2.0)
    state, empty = head.state_dict(), TipAdapterHead(NAMES, WIDTH, 1.0, 1.0)
    empty.take(state, "file")
    assert torch.equal(empty.keys, head.keys)
    assert float(empty.alpha) == 2
    for fault, name, value in (
        ("the file has no values", "values", None),
        ("the keys have the shape", "keys", head.keys[:3]),
        ("alpha is", "alpha", torch.ones(2)),
    ):
        wrong = {key: tensor for key, tensor in {**state, name: value}.items() if tensor is not None}
        with pytest.raises(UserError, match=f"^file .*{fault}"):
            TipAdapterHead(NAMES, WIDTH, 1.0, 1.0).take(wrong, "file")
