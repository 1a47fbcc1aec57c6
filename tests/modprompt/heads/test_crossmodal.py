"""Texts beside images: each with its own class, drawn as the reference draws them."""

import numpy as np
import torch

from modprompt.heads.crossmodal import HalfOfBoth, texts_as_samples
from tests.modprompt.heads.given import BANK


def test_texts_have_their_own_labels():
    np.random.seed(3)
    features, labels = texts_as_samples(BANK.text, 40)
    np.random.seed(3)
    drawn = np.random.choice(list(range(10)), 40)  # 5 classes, 2 templates
    assert labels.tolist() == [number // 2 for number in drawn]
    assert torch.equal(features, torch.stack([BANK.text[number // 2, number % 2] for number in drawn]))
    assert all((feature == BANK.text[label]).all(1).any() for feature, label in zip(features, labels))


def test_as_published_most_labels_are_wrong():
    np.random.seed(3)
    features, labels = texts_as_samples(BANK.text, 400, paired=False)
    right = [bool((feature == BANK.text[label]).all(1).any()) for feature, label in zip(features, labels)]
    assert 0 < sum(right) < 200


def test_an_epoch_is_half_of_all_drawn_with_replacement_then_permuted():
    epoch = HalfOfBoth(torch.arange(40.0)[:, None], torch.arange(40), images=10, batch=4)
    np.random.seed(5)
    batches = [batch["label"].tolist() for batch in epoch]
    np.random.seed(5)
    drawn = np.random.choice(list(np.arange(40)), 20)
    order = drawn[np.random.rand(20).argsort()]
    assert batches == [order[:4].tolist(), order[4:8].tolist()]
    assert len(epoch) == 2
