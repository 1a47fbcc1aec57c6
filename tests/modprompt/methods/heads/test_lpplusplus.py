"""LP++: the golden run, an implementation loop by loop, and classes that it was not made for."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from modprompt.methods.heads.base import Bank
from modprompt.methods.heads.lpplusplus import LPPlusPlusHead, first_alpha, steepness
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


@pytest.mark.parametrize("steps", [9, 10, 25])
def test_alpha_goes_by_the_sum_of_all_gradients_every_tenth_step(steps):
    """Loop by loop, in float64, with gradients written out: softmax minus one-hot."""
    image, text, labels = of_length_1(BANK.views[0]).double(), of_length_1(BANK.text).mean(1), BANK.labels[0]
    text = of_length_1(text).double()
    weight = torch.stack([image[labels == c].sum(0) for c in range(5)])
    bias, alpha = built().bias.detach().double(), built().alpha.detach().double()
    rates, speed, summed = built().steepness, [torch.zeros_like(weight), torch.zeros_like(bias)], torch.zeros(5)
    for number in range(1, steps + 1):
        error = torch.softmax(image @ weight.T + bias + alpha * (image @ text.T), 1) - F.one_hot(labels, 5)
        error = error / len(labels)
        speed = [0.9 * old + new for old, new in zip(speed, (error.T @ image, error.sum(0)))]
        summed = summed + (error * (image @ text.T)).sum(0)
        weight, bias = weight - rates[0] * speed[0], bias - rates[0] * speed[1]
        if number % 10 == 0:
            alpha = alpha - rates[1] * summed
    head, _ = trained(steps)
    assert torch.allclose(head.weight.double(), weight, atol=1e-4)
    assert torch.allclose(head.bias.double(), bias, atol=1e-4)
    assert torch.allclose(head.alpha.double(), alpha, atol=1e-4)


def test_goes_on_from_its_optimisers_state():
    """A run that was killed in front of alpha's turn has the sum of its gradients."""
    whole, text = trained(12)
    first = built()
    optimiser = first.rates(12)[0]
    for _ in range(7):
        step(first, optimiser, BANK.views[0], text)
    again = built()
    again.load_state_dict(first.state_dict())
    other = again.rates(12)[0]
    other.load_state_dict(optimiser.state_dict())
    for _ in range(5):
        step(again, other, BANK.views[0], text)
    assert all(torch.equal(one, two) for one, two in zip(whole.parameters(), again.parameters()))


def test_classes_without_an_image_take_no_part_in_alpha():
    labels = BANK.labels[0][BANK.labels[0] != 2]
    image, text = of_length_1(BANK.views[0][BANK.labels[0] != 2]), of_length_1(BANK.text[:, 0])
    own = [float((image[labels == c] @ text[c]).mean()) for c in (0, 1, 3, 4)]
    assert first_alpha(image @ text.t(), labels) == pytest.approx(250 * np.mean(own), rel=1e-5)


def test_rates_are_of_the_largest_curvature():
    image = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    assert steepness(image, image[:, :1]) == pytest.approx((4 * 3 / 2, 3 / (4 * 2)))


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


def test_new_classes_alone_are_zero_shot():
    head, _ = trained(20)
    with torch.no_grad():
        head.alpha.neg_()
    text = of_length_1(torch.randn(5, 32))
    found = head.for_classes([f"new {i}" for i in range(5)])(FEATURES["test"], text, SCALE).argmax(1)
    assert torch.equal(found, (of_length_1(FEATURES["test"]) @ text.T).argmax(1))


def test_a_views_scale_does_not_matter():
    longer = Bank(BANK.views * 3, BANK.labels, BANK.text * 2)
    assert torch.allclose(built(longer).weight, built().weight, atol=1e-6)
