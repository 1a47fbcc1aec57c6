"""cb and cbsq pick what slow code picks, keep to the number that is wanted and label for nothing what they should."""

import random
from collections import Counter

import numpy as np
import pytest
import torch
from sklearn.cluster import KMeans

from modprompt.active import clusters as module
from modprompt.active.acquisition import find
from tests.modprompt.active.given import random_seen, seen_of, unit

cb, cbsq = find("cb").choose, find("cbsq").choose


def slow(seen, number, clusters, places=12):
    """Positions, one of scikit-learn's clusters after the other, with shares counted anew for each unit."""
    features = torch.cat([seen.labelled_features, seen.features]).numpy()
    p = torch.cat([seen.labelled_probabilities, seen.probabilities])
    points = np.concatenate([features, (p @ seen.text).numpy()], axis=1)
    points = points / np.linalg.norm(points, axis=1, keepdims=True)
    labelled = len(seen.labels)
    means = KMeans(n_clusters=clusters + labelled, random_state=42, n_init=1).fit(points)
    size, labels, units = Counter(means.labels_.tolist()), Counter(means.labels_[:labelled].tolist()), Counter()
    for _ in range(number):
        share = {one: (labels[one] + units[one]) / size[one] for one in size}
        units[min(size, key=lambda one: (share[one], -size[one], one))] += 1
    found = []
    for cluster in sorted(units):
        centre = means.cluster_centers_[cluster].astype(float)

        def distance(row, centre=centre):
            point = points[row].astype(float)
            return 1 - point @ centre / np.linalg.norm(point) / np.linalg.norm(centre)

        mine = [row for row in range(labelled, len(points)) if means.labels_[row] == cluster]
        found += sorted(mine, key=lambda row: round(distance(row), places))[: units[cluster]]  # of two, the first
    return [row - labelled for row in found]


@pytest.mark.parametrize(("seed", "labelled"), [(0, 0), (1, 5), (2, 10)])
@pytest.mark.parametrize(("most", "numbers", "places"), [(2**31, 2**25, 12), (0, 2**25, 5), (0, 50, 5)])
def test_picks_are_those_of_scikit_learns_clusters(seed, labelled, most, numbers, places, monkeypatch):
    monkeypatch.setattr(module, "MOST_BYTES", most)  # 0: as a pool that does not fit into memory
    monkeypatch.setattr(module, "NUMBERS", numbers)  # 50: in blocks of a few rows
    seen = random_seen(seed, images=90, labelled=labelled)
    assert cb(seen, 5).positions == slow(seen, 5, 5, places)
    assert cbsq(seen, 5).positions == slow(seen, 5, 20 if labelled else 5, places)
    assert cb(seen, 8).positions == slow(seen, 8, 8, places)  # a budget of one's own


def test_free_labels_are_those_of_which_the_model_is_surer_than_of_images_labelled_so():
    seen = random_seen(1, images=90, labelled=20)
    best, labels = seen.labelled_probabilities.double().amax(dim=1).tolist(), seen.labels.tolist()
    of_label = {own: [one for one, label in zip(best, labels) if label == own] for own in labels}
    choice = cbsq(seen, 10)
    wanted = {}
    for position in choice.positions:
        p = seen.probabilities[position].tolist()
        own = p.index(max(p))
        if own in of_label and max(p) >= sum(of_label[own]) / len(of_label[own]):
            wanted[position] = own
    assert choice.free == wanted
    assert 0 < len(wanted) < 10
    assert not cb(seen, 10).free


@pytest.mark.parametrize("choose", [cb, cbsq])
@pytest.mark.parametrize("labelled", [0, 3])
@pytest.mark.parametrize("most", [2**31, 0])
def test_equal_points_do_not_make_fewer_picks(choose, labelled, most, monkeypatch):
    monkeypatch.setattr(module, "MOST_BYTES", most)
    rows = np.repeat(unit(np.random.RandomState(0).randn(2, 6)), 10, axis=0)
    seen = seen_of(rows, np.full((20, 4), 0.25), labelled, labels=[0] * labelled)
    choice = choose(seen, 8)
    assert len(set(choice.positions)) == 8
    assert sorted(choose(seen, 50).positions) == list(range(20 - labelled))


def test_no_generator_is_drawn_from_and_no_image_no_pick():
    before = (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist())
    cb(random_seen(0, images=20), 3)
    assert cb(random_seen(0, images=0, labelled=4), 3).positions == []
    assert before == (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist())
