"""The pool knows what is labelled, in which order, and gives it as a data set for training."""

import math

import pytest

from modprompt.active.pool import Pool, spread
from modprompt.data.images import UNKNOWN


def test_training_list_is_in_the_order_of_labelling_and_knows_all_classes(dataset):
    pool = Pool(dataset)
    assert (pool.labels, pool.known_at_start, pool.unlabelled) == ({}, 0, list(range(9)))
    pool.labels.update({4: pool.truth(4), 0: pool.truth(0)})
    assert pool.unlabelled == [1, 2, 3, 5, 6, 7, 8]
    assert pool.counts() == [1, 1, 0]
    assert pool.place(pool.file(4)) == 4
    chosen = pool.as_dataset()
    assert [(image.impath[-5:], image.label, image.classname) for image in chosen.train_x] == [
        ("4.jpg", 1, "dog"),
        ("0.jpg", 0, "cat"),
    ]
    assert chosen.classnames == ["cat", "dog", "eel"]
    assert chosen.test is dataset.test
    assert len(dataset.train_x) == 9  # the data set itself is as it was


def test_images_without_labels_stand_behind_those_that_have_one(unlabelled):
    pool = Pool(unlabelled)
    assert (pool.known_at_start, pool.labels, pool.unlabelled) == (2, {0: 0, 1: 1}, list(range(2, 9)))
    assert pool.truth(5) == UNKNOWN


def test_a_wrong_free_label_is_counted_and_changes_the_class_name(dataset):
    pool = Pool(dataset)
    pool.labels, pool.free = {4: 2, 0: 0, 1: 2}, {4, 0}
    assert pool.wrong() == 1  # what people say is not counted
    assert pool.as_dataset().train_x[0].classname == "eel"


@pytest.mark.parametrize(("counts", "value"), [([2, 2, 2], 1), ([5, 0], 0), ([1, 1, 0], math.log(2, 3)), ([4], 1)])
def test_balance_is_entropy_over_that_of_even_counts(counts, value):
    assert spread(counts)["balance"] == pytest.approx(value, abs=1e-6)
