"""Texts beside images: each with its own class, drawn as the reference draws them."""

import numpy as np
import torch

from modprompt.methods.heads.crossmodal import CrossModalHead
from tests.modprompt.methods.heads.given import BANK, NAMES
from tests.modprompt.methods.heads.golden import SCALE


def samples(paired, seed=3, size=7):
    """A built head, and its batches of an epoch; 20 images in 3 views, 5 classes in 2 templates."""
    np.random.seed(seed)
    head = CrossModalHead(NAMES, 32, paired=paired)
    head.build(BANK, SCALE)
    batches = head.batches(BANK, size)
    return head, batches, list(batches)


def test_texts_are_drawn_from_all_templates_and_an_epoch_is_half_of_all_permuted():
    """Step by step, with lists."""
    _, batches, found = samples(paired=True)
    np.random.seed(3)
    texts = np.random.choice(list(np.arange(10)), 60)
    pool = [(one, int(label)) for view, labels in zip(BANK.views, BANK.labels) for one, label in zip(view, labels)]
    pool += [(BANK.text[number // 2, number % 2], number // 2) for number in texts]
    drawn = np.random.choice(list(np.arange(120)), 60)
    order = drawn[np.random.rand(60).argsort(axis=0)]
    assert len(batches) == len(found) == 2  # floor of 20 images by 7
    for number, batch in enumerate(found):
        wanted = [pool[place] for place in order[number * 7 : (number + 1) * 7]]
        assert batch["label"].tolist() == [label for _, label in wanted]
        assert torch.equal(batch["img"], torch.stack([feature for feature, _ in wanted]))


def test_as_published_most_texts_have_the_label_of_another_class():
    for paired in (True, False):
        _, batches, _ = samples(paired)
        texts = list(zip(batches.features[60:], batches.labels[60:]))
        right = sum(bool((BANK.text[label] == feature).all(1).any()) for feature, label in texts)
        assert right == (10 if paired else 2), "of all ten"


def test_texts_of_a_killed_run_come_back():
    head, batches, _ = samples(paired=True)
    again, other, _ = samples(paired=True, seed=4)
    assert not torch.equal(head.texts, again.texts)
    for name in head.kept:
        getattr(again, name).copy_(getattr(head, name))
    np.random.seed(9)
    wanted = [batch["label"].tolist() for batch in batches]
    np.random.seed(9)
    assert [batch["label"].tolist() for batch in other] == wanted
