"""Features, and what the references' functions gave on them (golden.json says in `settings` how)."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from modprompt.methods.heads.bank import Bank

HERE = Path(__file__).parent
GOLDEN = json.loads((HERE / "golden.json").read_text())
FEATURES = {name: torch.from_numpy(array) for name, array in np.load(HERE / "features.npz").items()}
NAMES = ["a", "b", "c", "d", "e"]
WIDTH = 32
SCALE = torch.tensor(100.0)


def bank():
    return Bank.of(list(FEATURES["train"]), FEATURES["train_y"], FEATURES["text"])


def step(head, optimiser, image, labels, text):
    """One step down cross-entropy and the penalty; (cross-entropy, sum of logits)."""
    logits = head(image, text, SCALE)
    loss = torch.nn.functional.cross_entropy(logits, labels)
    optimiser.zero_grad()
    (loss + head.penalty()).backward()
    optimiser.step()
    return loss.item(), logits.detach().double().sum().item()


def fit_whole_views(head, optimiser, text, steps):
    """Step k on the whole of view k modulo 3; losses and sums of logits."""
    made = bank()
    done = [step(head, optimiser, made.views[k % 3], made.labels[k % 3], text) for k in range(steps)]
    return [list(one) for one in zip(*done)]


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
