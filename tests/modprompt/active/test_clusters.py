"""cb and cbsq pick what slow code picks, keep to the number that is wanted and label for nothing what they should."""

import random
from collections import Counter

import numpy as np
import pytest
import torch
from sklearn.cluster import KMeans
from threadpoolctl import threadpool_limits

from modprompt.active import blocks
from modprompt.active.acquisition import find
from modprompt.active.clusters import THREADS, _clustered, _units
from tests.modprompt.active.given import random_seen, seen_of, unit

cb, cbsq = find("cb").choose, find("cbsq").choose


def slow(seen, number, clusters):
    """Positions, one cluster after the other, with shares counted anew for each unit."""
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
        found += sorted(mine, key=distance)[: units[cluster]]
    return [row - labelled for row in found]


@pytest.mark.parametrize(("seed", "labelled"), [(0, 0), (1, 5), (2, 10)])
def test_picks_are_those_of_slow_code(seed, labelled):
    seen = random_seen(seed, images=90, labelled=labelled)
    assert cb(seen, 5).positions == slow(seen, 5, clusters=5)
    assert cbsq(seen, 5).positions == slow(seen, 5, clusters=20 if labelled else 5)
    assert cb(seen, 8).positions == slow(seen, 8, clusters=8)  # a budget of one's own


def test_first_round_takes_one_of_each_cluster_and_labels_nothing():
    seen = random_seen(0, images=60)
    first, selective = cb(seen, 5), cbsq(seen, 5)
    assert first == selective
    assert len(first.positions) == 5
    assert not selective.free


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


def test_class_without_a_label_gives_none():
    p = np.tile([0.9, 0.1], (12, 1))
    p[2:7] = p[2:7, ::-1]
    seen = seen_of(unit(np.random.RandomState(0).randn(12, 4)), p, labelled=2, labels=[0, 0])
    free = cbsq(seen, 10).free
    assert free == {position: 0 for position in range(5, 10)}  # as sure as those with a label: enough


def test_share_of_labels_then_size_then_number_say_which_cluster_is_next():
    members = {0: [0, 4], 1: [1, 5, 6, 7], 2: [8, 9], 3: [10, 11, 12], 4: [13, 14, 15], 5: [2, 3]}
    members = {cluster: np.array(rows) for cluster, rows in members.items()}
    units = [_units(members, 4, number) for number in (1, 2, 3, 4, 12)]
    assert units[:4] == [{3: 1}, {3: 1, 4: 1}, {2: 1, 3: 1, 4: 1}, {1: 1, 2: 1, 3: 1, 4: 1}]
    assert units[4] == {0: 1, 1: 3, 2: 2, 3: 3, 4: 3}  # all that have no label; cluster 5 has none


class Elsewhere(KMeans):
    """A KMeans that does not look where ours is told the tolerance."""

    def fit(self, points, **named):
        plain = KMeans(**{**self.get_params(), "copy_x": True}).fit(points)
        self.labels_, self.cluster_centers_ = plain.labels_, plain.cluster_centers_
        return self


@pytest.mark.slow
@pytest.mark.parametrize("means", [KMeans, Elsewhere])
def test_clusters_are_those_of_kmeans_that_computes_its_own_tolerance(means, monkeypatch):
    monkeypatch.setattr("sklearn.cluster.KMeans", means)
    points = np.random.RandomState(0).rand(3000, 2).astype(np.float32)
    with threadpool_limits(THREADS, "openmp"):
        plain, endless = (KMeans(n_clusters=20, random_state=42, n_init=1, tol=tol).fit(points) for tol in (1e-4, 0))
    own, centres = _clustered(points.copy(), 20)
    assert np.array_equal(own, plain.labels_)
    assert np.array_equal(centres, plain.cluster_centers_)
    assert not np.array_equal(centres, endless.cluster_centers_)


@pytest.mark.parametrize("labelled", [0, 7, 30])
def test_picks_do_not_depend_on_the_size_of_blocks(labelled, monkeypatch):
    seen = random_seen(3, images=90, labelled=labelled)
    whole = cbsq(seen, 5)
    monkeypatch.setattr(blocks, "NUMBERS", 16 * seen.features.shape[1])  # of 8 images
    parts = cbsq(seen, 5)
    assert (parts.positions, parts.free) == (whole.positions, whole.free)
    assert parts.scores == pytest.approx(whole.scores, abs=1e-6)


@pytest.mark.parametrize("choose", [cb, cbsq])
@pytest.mark.parametrize("labelled", [0, 3])
def test_equal_points_do_not_make_fewer_picks(choose, labelled):
    rows = np.repeat(unit(np.random.RandomState(0).randn(2, 6)), 10, axis=0)
    seen = seen_of(rows, np.full((20, 4), 0.25), labelled, labels=[0] * labelled)
    choice = choose(seen, 8)
    assert len(set(choice.positions)) == 8
    assert choose(seen, 50).positions != []
    assert sorted(choose(seen, 50).positions) == list(range(20 - labelled))


def test_no_generator_is_drawn_from_and_no_image_no_pick():
    before = (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist())
    cb(random_seen(0, images=20), 3)
    assert cb(random_seen(0, images=0, labelled=4), 3).positions == []
    assert before == (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist())
