"""LP++: the golden run, an implementation loop by loop, and classes that it was not made for."""

import numpy as np
import pytest
import torch

from modprompt.methods.heads.base import Bank
from modprompt.methods.heads.lpplusplus import LPPlusPlusHead, first_alpha
from tests.modprompt.methods.heads.golden import (
    BANK,
    FEATURES,
    LINEAR,
    NAMES,
    SCALE,
    accuracy_and_sum,
    of_length_1,
    run_as,
    step,
)

GOLDEN = LINEAR["LPPlusPlus"]


def built(bank=BANK, names=NAMES):
    torch.manual_seed(1)
    head = LPPlusPlusHead(names, bank.text.shape[-1])
    head.build(bank, SCALE)
    return head


def trained(steps):
    head = built()
    optimiser, text = head.rates(steps)[0], head.pooled(BANK.text)
    for _ in range(steps):
        step(head, optimiser, BANK.views[0], text)
    return head, text


def test_starts_and_rates_are_the_references():
    head = built()
    assert head.steepness == pytest.approx((GOLDEN["calculate_lr_w"], GOLDEN["calculate_lr_alpha"]), rel=2e-6)
    assert head.alpha.tolist() == pytest.approx([GOLDEN["alpha_start"]] * 5, rel=1e-6)
    assert head.bias.tolist() == pytest.approx(GOLDEN["initial_bias"]["first"], abs=1e-7)


def test_run_is_the_references():
    head = built()
    text = head.pooled(BANK.text)
    run_as(GOLDEN, head, head.rates(40)[0], text, views=[0])
    assert head.alpha.tolist() == pytest.approx(GOLDEN["alpha_end"], rel=1e-6)
    assert head.weight.abs().sum().item() == pytest.approx(GOLDEN["weight_end"]["abs_sum"], rel=1e-5)
    assert accuracy_and_sum(head, text)[0] == GOLDEN["accuracy"]


def test_classes_without_an_image_take_no_part_in_alpha():
    labels = BANK.labels[0][BANK.labels[0] != 2]
    image, text = of_length_1(BANK.views[0][BANK.labels[0] != 2]), of_length_1(BANK.text[:, 0])
    own = [float((image[labels == c] @ text[c]).mean()) for c in (0, 1, 3, 4)]
    assert first_alpha(image @ text.t(), labels) == pytest.approx(250 * np.mean(own), rel=1e-5)


def test_other_classes_by_name():
    head, _ = trained(20)
    text = of_length_1(torch.randn(3, 32))
    other = head.for_classes(["new", NAMES[3], "newer"])
    logits = other(FEATURES["test"], text, SCALE)
    own = of_length_1(FEATURES["test"]) @ head.weight[3] + head.bias[3]
    shown = of_length_1(FEATURES["test"]) @ text.T
    assert torch.allclose(logits[:, 1], own + head.alpha[3] * shown[:, 1], atol=1e-3)
    assert torch.allclose(logits[:, 0], head.alpha.mean().abs() * shown[:, 0], atol=1e-3)
    assert head.weight.shape == (5, 32), "the trained head stays as it is"


def test_a_views_scale_does_not_matter():
    longer = Bank(BANK.views * 3, BANK.labels, BANK.text * 2)
    assert torch.allclose(built(longer).weight, built().weight, atol=1e-6)
