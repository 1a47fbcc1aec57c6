"""What linear probes are given in the tests: the golden features and runs, and a step on a whole view."""

from typing import NamedTuple

import torch
import torch.nn.functional as F

from tests.modprompt.methods.heads.golden import FEATURES, GOLDEN, SCALE, bank

LINEAR = {"LPPlusPlus": GOLDEN["f_lpp"], **GOLDEN["f_clap"]}
BANK = bank()
NAMES = ["one", "two", "three", "four", "five"]


def images(split):
    """Raw features (N, D) of "val" or "test"."""
    return FEATURES[split]


def of_length_1(features):
    return F.normalize(features, dim=-1)


def accuracy(head, split, text):
    """In percent."""
    right = head(FEATURES[split], text, SCALE).argmax(1) == FEATURES[f"{split}_y"]
    return 100 * right.double().mean().item()


class Step(NamedTuple):
    """What a step says: logits, cross-entropy and the penalty that was added to it."""

    logits: torch.Tensor
    loss: torch.Tensor
    penalty: torch.Tensor


def step(head, optimiser, image, text):
    """One step on all images of a view (N, D)."""
    logits = head(image, text, SCALE)
    loss, penalty = F.cross_entropy(logits, BANK.labels[0]), head.penalty()
    optimiser.zero_grad()
    (loss + penalty).backward()
    optimiser.step()
    return Step(logits.detach(), loss.detach(), penalty.detach())
