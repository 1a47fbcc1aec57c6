"""Greedy k-centre picks what the reference picks and what slow code picks."""

import math

import numpy as np
import pytest

from modprompt.active import acquisition
from modprompt.active import coreset as module
from modprompt.active.acquisition import find
from tests.modprompt.active.given import GOLDEN, golden_seen, random_seen, seen_of

coreset = find("coreset").choose


@pytest.mark.parametrize("labelled", [2, 15])
def test_picks_are_those_of_the_reference(labelled):
    assert coreset(golden_seen(labelled), 40).positions == GOLDEN[f"coreset_40_labelled_{labelled}"]


def slow(seen, number):
    """Every distance of every step."""
    points, centres = seen.features.double().tolist(), seen.labelled_features.double().tolist()
    found, scores = [], []
    for _ in range(number):
        distances = [min((math.dist(point, centre) for centre in centres), default=2.0) for point in points]
        far = max(range(len(points)), key=lambda row: (distances[row] if row not in found else -1, -row))
        found.append(far)
        scores.append(distances[far])
        centres.append(points[far])
    return found, scores


@pytest.mark.parametrize(("seed", "labelled"), [(0, 0), (2, 7)])
@pytest.mark.parametrize(("centres", "together"), [(64, 32), (4, 3), (1, 1)])
def test_picks_are_those_of_slow_code(seed, labelled, centres, together, monkeypatch):
    monkeypatch.setattr(acquisition, "NUMBERS", 100)  # blocks of a few rows
    monkeypatch.setattr(module, "CENTRES", centres)
    monkeypatch.setattr(module, "TOGETHER", together)
    seen = random_seen(seed, images=40, labelled=labelled)
    choice = coreset(seen, 25)
    positions, scores = slow(seen, 25)
    assert choice.positions == positions
    assert choice.scores == pytest.approx(scores, abs=1e-6)


def test_equal_points_follow_in_order():
    rng = np.random.RandomState(0)
    a, b, c = (row / np.linalg.norm(row) for row in rng.randn(3, 37))
    seen = seen_of(np.stack([c, a, b, a, b, a, c, b]), np.full((8, 2), 0.5), labelled=1)
    choice = coreset(seen, 9)
    assert sorted(choice.positions[:2]) == [0, 1]
    assert choice.positions[2:] == [2, 3, 4, 5, 6]
    assert choice.scores[2:] == pytest.approx([0] * 5, abs=1e-6)
