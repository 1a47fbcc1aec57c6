"""What heads are given in the tests: the features of the golden runs."""

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F

from modprompt.heads.bank import Bank

HERE = Path(__file__).parent
LINEAR = json.loads((HERE / "golden_linear.json").read_text())
FEATURES = {name: torch.from_numpy(value) for name, value in np.load(HERE / "features.npz").items()}
BANK = Bank.of(list(FEATURES["train"]), FEATURES["train_y"], FEATURES["text"])
NAMES = ["one", "two", "three", "four", "five"]
SCALE = torch.tensor(100.0)


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
    loss, penalty = F.cross_entropy(logits, BANK.labels), head.penalty()
    optimiser.zero_grad()
    (loss + penalty).backward()
    optimiser.step()
    return Step(logits.detach(), loss.detach(), penalty.detach())
