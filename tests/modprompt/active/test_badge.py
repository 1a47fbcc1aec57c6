"""BADGE from two thin matrices picks what whole gradient embeddings do, with the same draws."""

import numpy as np
import pytest

from modprompt.active import acquisition
from modprompt.active.acquisition import find
from modprompt.active.badge import badge, badge_of_reference
from tests.modprompt.active.given import GOLDEN, golden_seen, random_seen, seen_of, unit

ROWS = {"badge_40_right_rows": badge, "badge_40": badge_of_reference}


@pytest.mark.parametrize("rows", ROWS)
def test_picks_and_draws_are_those_of_the_reference(rows):
    np.random.seed(1)
    choice = ROWS[rows](golden_seen(), 40)
    assert choice.positions == GOLDEN[rows]
    assert np.random.random_sample() == pytest.approx(GOLDEN[f"{rows}_uniform_after"], abs=1e-8)
    assert choice.scores[0] == pytest.approx(GOLDEN[f"{rows}_largest_norm"], abs=1e-5)


def whole_embeddings(seen, as_reference=False):
    """(U, C * E), image by image, batch by batch."""
    rows = np.zeros((len(seen.features), seen.probabilities.shape[1] * seen.features.shape[1]))
    for start in range(0, len(rows), seen.batch_size):
        batch = range(start, min(start + seen.batch_size, len(rows)))
        for place, image in enumerate(batch):
            error = -seen.probabilities[image].double().numpy()
            error[error.argmin()] += 1
            row = start // seen.batch_size * len(batch) + place if as_reference else image
            rows[row] = np.outer(error, seen.features[image].double().numpy()).ravel()
    return rows


def slow(points, number):
    """k-means++ with every distance of every step."""
    found = [int(np.argmax([np.linalg.norm(point) for point in points]))]
    while len(found) < number:
        weights = np.array([min(np.sum((point - points[centre]) ** 2) for centre in found) for point in points])
        cumulated = np.cumsum(weights / weights.sum())
        drawn = found[0]
        while drawn in found:
            drawn = int(np.argmax(cumulated >= np.random.random_sample()))
        found.append(drawn)
    return found


@pytest.mark.parametrize("sharper", [0.01, 5])  # nearly even probabilities, nearly certain ones
@pytest.mark.parametrize("batch", [7, 50])  # of 40 images: a short batch of 5, nothing but one
@pytest.mark.parametrize(("choose", "as_reference"), [(badge, False), (badge_of_reference, True)])
def test_picks_and_draws_are_those_of_whole_embeddings(sharper, batch, choose, as_reference, monkeypatch):
    seen = random_seen(batch, images=40, batch_size=batch)
    seen = seen_of(seen.features, (seen.probabilities.log() * sharper).softmax(dim=1), batch_size=batch)
    np.random.seed(2)
    wanted, after = slow(whole_embeddings(seen, as_reference), 15), np.random.random_sample()
    for numbers in (2**25, 40):  # the second: in blocks of a few rows
        monkeypatch.setattr(acquisition, "NUMBERS", numbers)
        np.random.seed(2)
        assert (choose(seen, 15).positions, np.random.random_sample()) == (wanted, after)


@pytest.mark.parametrize("choose", [badge, find("pcb").choose])
def test_equal_points_follow_in_order_without_a_draw(choose):
    """Three points, of which there are some copies: two draws, and then none."""
    features = unit(np.random.RandomState(0).randn(3, 37))
    p = np.array([[0.5, 0.3, 0.2], [0.1, 0.8, 0.1], [0.3, 0.3, 0.4]])
    which = [0, 1, 0, 2, 1, 0, 2, 2]
    np.random.seed(0)
    choice = choose(seen_of(features[which], p[which]), 20)
    after = np.random.random_sample()
    np.random.seed(0)
    np.random.random_sample(2)
    assert after == np.random.random_sample()
    assert choice.positions[0] == 3  # the largest norm, the first of its copies
    assert sorted(which[row] for row in choice.positions[:3]) == [0, 1, 2]
    assert choice.positions[3:] == sorted(choice.positions[3:])
    assert choice.scores[3:] == [0.0] * 5
    assert sorted(choice.positions) == list(range(8))


def test_a_centre_is_drawn_again(monkeypatch):
    """A double of 0 asks for the first image, which is a centre already."""
    seen = seen_of(np.eye(3, 4), [[0.5, 0.5, 0], [0.1, 0.9, 0], [0.2, 0.1, 0.7]])
    doubles = iter([0.0, 0.0, 0.9, 0.0, 0.5])
    monkeypatch.setattr(np.random, "random_sample", lambda: next(doubles))
    assert badge(seen, 3).positions == [0, 2, 1]
    assert list(doubles) == []
