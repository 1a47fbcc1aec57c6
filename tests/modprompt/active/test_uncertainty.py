"""Acquisitions by probabilities pick what the reference picks, what slow code picks, and the first in ties."""

import math
import random

import numpy as np
import pytest
import torch

from modprompt.active.acquisition import find
from tests.modprompt.active.given import GOLDEN, golden_seen, random_seen, seen_of

BY_PROBABILITY = ("entropy", "margin", "least_confidence")


def test_entropy_picks_what_the_reference_picks():
    seen = golden_seen()
    choice = find("entropy").choose(seen, 40)
    assert choice.positions == GOLDEN["entropy_40"]
    score = dict(zip(*find("entropy").choose(seen, 200)[:2]))
    assert [-score[row] for row in range(5)] == pytest.approx(GOLDEN["entropy_scores_first_5"], abs=1e-6)


def slow_score(name, p):
    """Of one image; the largest is chosen first."""
    ordered = sorted(p, reverse=True)
    if name == "entropy":
        return -sum(one * math.log(one + 1e-6) for one in p)
    return ordered[1] - ordered[0] if name == "margin" else 1 - ordered[0]


@pytest.mark.parametrize("name", BY_PROBABILITY)
def test_order_is_that_of_slow_code(name):
    seen = random_seen(3, images=60)
    scores = [slow_score(name, row) for row in seen.probabilities.double().tolist()]
    choice = find(name).choose(seen, 20)
    assert choice.positions == sorted(range(60), key=lambda row: -scores[row])[:20]
    sign = -1 if name == "margin" else 1
    assert choice.scores == pytest.approx([sign * scores[row] for row in choice.positions])


@pytest.mark.parametrize("name", [*BY_PROBABILITY, "none"])
def test_ties_go_to_the_first_and_no_more_come_than_there_are(name):
    seen = seen_of(np.eye(4, 3), np.tile([0.5, 0.3, 0.2], (4, 1)))
    before = (random.getstate(), torch.get_rng_state().tolist())
    assert find(name).choose(seen, 3).positions == [0, 1, 2]
    assert find(name).choose(seen, 9).positions == [0, 1, 2, 3]
    assert before == (random.getstate(), torch.get_rng_state().tolist())


def test_chance_draws_what_the_reference_draws():
    random.seed(1)
    found, after = find("random").choose(golden_seen(), 10).positions, random.random()
    random.seed(1)
    random.sample(list(range(1000, 1200)), 10)
    assert (found, after) == (GOLDEN["random_10"], random.random())
