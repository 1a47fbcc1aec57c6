"""The pool knows what is labelled, in which order, and gives it as a data set for training."""

import math

import pytest
from dassl.data.datasets import DATASET_REGISTRY, build_dataset
from yacs.config import CfgNode

import modprompt.data.readers.digits  # noqa: F401
from modprompt.active.pool import Pool, given, spread
from modprompt.data.images import UNKNOWN


def test_labels_of_a_data_set_count_once_they_are_asked_for(dataset):
    pool = Pool(dataset)
    assert pool.labels == {}
    assert pool.known_at_start == 0
    assert pool.unlabelled == list(range(9))
    assert pool.counts() == [0, 0, 0]
    pool.labels.update({4: pool.truth(4), 0: pool.truth(0)})
    assert pool.unlabelled == [1, 2, 3, 5, 6, 7, 8]
    assert pool.counts() == [1, 1, 0]
    assert [pool.file(place) for place in pool.labels] == ["4.jpg", "0.jpg"]
    assert pool.place("4.jpg") == 4


def test_images_without_labels_stand_behind_those_that_have_one(unlabelled):
    pool = Pool(unlabelled)
    assert len(pool.images) == 9
    assert pool.known_at_start == 2
    assert pool.labels == {0: 0, 1: 1}
    assert pool.unlabelled == list(range(2, 9))
    assert pool.truth(5) == UNKNOWN


def test_training_list_is_in_the_order_of_labelling_and_knows_all_classes(dataset):
    pool = Pool(dataset)
    pool.labels.update({4: 1, 0: 0})
    chosen = pool.as_dataset()
    assert [(image.impath[-5:], image.label, image.classname) for image in chosen.train_x] == [
        ("4.jpg", 1, "dog"),
        ("0.jpg", 0, "cat"),
    ]
    assert chosen.classnames == ["cat", "dog", "eel"]
    assert chosen.num_classes == 3
    assert chosen.test is dataset.test
    assert len(dataset.train_x) == 9  # the data set itself is as it was


def test_a_wrong_free_label_is_counted_and_changes_the_class_name(dataset):
    pool = Pool(dataset)
    for place, label, free in ((4, 2, True), (0, 0, True), (1, 2, False)):
        pool.label(place, label, free)
    assert pool.wrong() == 1  # what people say is not counted
    assert pool.as_dataset().train_x[0].classname == "eel"
    pool.images[0].__dict__["_label"] = UNKNOWN
    assert pool.wrong() is None


def test_fingerprint_tells_pools_apart_wherever_they_lie(dataset, tmp_path):
    first = Pool(dataset).fingerprint()
    assert Pool(dataset).fingerprint() == first
    (tmp_path / "images" / "3.jpg").write_bytes(b"another size")
    assert Pool(dataset).fingerprint() != first


@pytest.mark.parametrize(
    ("counts", "value"),
    [
        ([2, 2, 2], 1.0),
        ([5, 0, 0], 0.0),
        ([1, 1, 0], math.log(2) / math.log(3)),
        ([3, 1], -(0.75 * math.log(0.75) + 0.25 * math.log(0.25)) / math.log(2)),
        ([4], 1.0),
    ],
)
def test_balance_is_entropy_over_that_of_even_counts(counts, value):
    assert spread(counts)["balance"] == pytest.approx(value, abs=1e-6)


def test_whoever_builds_it_gets_the_given_one():
    reader, mine = DATASET_REGISTRY.get("Digits"), object()
    cfg = CfgNode({"DATASET": {"NAME": "Digits"}, "VERBOSE": False})
    with given("Digits", mine):
        assert build_dataset(cfg) is mine
    with pytest.raises(ZeroDivisionError), given("Digits", mine):
        1 / 0  # noqa: B018
    assert DATASET_REGISTRY.get("Digits") is reader
