"""Features, and what the references' functions gave on them (golden.json says in `settings` how)."""

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from modprompt.methods.heads.base import Bank

HERE = Path(__file__).parent
GOLDEN = json.loads((HERE / "golden.json").read_text())
LINEAR = {"LPPlusPlus": GOLDEN["f_lpp"], **GOLDEN["f_clap"]}
FEATURES = {name: torch.from_numpy(array) for name, array in np.load(HERE / "features.npz").items()}
BANK = Bank.of(list(FEATURES["train"]), FEATURES["train_y"], FEATURES["text"])
NAMES = ["one", "two", "three", "four", "five"]
WIDTH = 32
SCALE = torch.tensor(100.0)


class Step(NamedTuple):
    """What a step says: logits, cross-entropy and the penalty that was added to it."""

    logits: torch.Tensor
    loss: torch.Tensor
    penalty: torch.Tensor


def step(head, optimiser, image, text, labels=BANK.labels[0]):
    """One step down cross-entropy and the penalty."""
    logits = head(image, text, SCALE)
    loss, penalty = F.cross_entropy(logits, labels), head.penalty()
    optimiser.zero_grad()
    (loss + penalty).backward()
    optimiser.step()
    return Step(logits.detach(), loss.detach(), penalty.detach())


def run_as(golden, head, optimiser, text, views=(0, 1, 2)):
    """Steps on whole views in turn, with the golden losses and sums of logits."""
    steps = [step(head, optimiser, BANK.views[views[k % len(views)]], text) for k in range(len(golden["losses"]))]
    assert [one.loss.item() for one in steps] == pytest.approx(golden["losses"], abs=1e-5)
    sums = [one.logits.double().sum().item() for one in steps]
    assert sums == pytest.approx(golden["logit_sums"], rel=1e-5)
    return steps


def of_length_1(features):
    return F.normalize(features, dim=-1)


def accuracy_and_sum(head, text, split="test"):
    """(accuracy in percent, sum of logits)."""
    with torch.no_grad():
        logits = head(FEATURES[split], text, SCALE)
    right = (logits.argmax(1) == FEATURES[f"{split}_y"]).double().mean().item()
    return pytest.approx(100 * right, abs=1e-3), pytest.approx(logits.double().sum().item(), rel=1e-5)


def like(tensor, told):
    """Whether a tensor has the golden shape, sums and ends."""
    flat = tensor.detach().double().flatten()
    assert list(tensor.shape) == told["shape"]
    assert flat.sum().item() == pytest.approx(told["sum"], rel=1e-5, abs=1e-5)
    assert flat.abs().sum().item() == pytest.approx(told["abs_sum"], rel=1e-5)
    for part, values in ((flat[:4], told["first"]), (flat[-4:], told["last"])):
        assert part.tolist() == pytest.approx(values, rel=1e-4, abs=1e-5)
