"""Annotation files that are whole as files, but whose content is none: one line each."""

import numpy as np
import pytest
from scipy.io import savemat

from modprompt.data.listings import whole
from modprompt.errors import UserError
from tests.conftest import one_line
from tests.modprompt.data import trees
from tests.modprompt.data.test_readers import read


@pytest.mark.parametrize(
    "labels",
    [np.zeros((0, 0)), np.ones((2, 2)), [[1.5, 2]], [[np.nan, 1]], [[0, 1]], [[1 + 1j, 1]], {"field": 1}],
    ids=str,
)
def test_labels_of_flowers_that_are_none_are_one_line(labels, tmp_path):
    trees.oxford_flowers(tmp_path)
    savemat(tmp_path / "oxford_flowers/imagelabels.mat", {"labels": labels})
    with one_line(r"imagelabels.mat.*Download (the file|both files) again"):
        read("OxfordFlowers", tmp_path)


def annotations(label):
    rows = np.empty((1, 1), dtype=[("fname", object), ("class", object)])
    rows[0, 0] = ("00001.jpg", np.array([[label]]))
    return rows


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("class_names", np.zeros((0, 0)), "'class_names' must be a MATLAB array with one row"),
        ("class_names", np.ones((1, 4)), "'class_names' must contain class names"),
        ("class_names", np.array([[np.ones(1), ""]], dtype=object), "must contain class names"),
        ("annotations", np.zeros((0, 0)), "'annotations' must be a MATLAB array with one row"),
        ("annotations", np.ones((1, 3)), "annotation 1 has no file name"),
        ("annotations", annotations(0), "annotation 1 has no"),
        *(
            pytest.param("annotations", annotations(label), "annotation 1 has no", marks=pytest.mark.slow)
            for label in (99, 1.5, np.nan, "a")
        ),
    ],
)
def test_annotations_of_cars_that_are_none_are_one_line(key, value, said, tmp_path):
    trees.stanford_cars(tmp_path)
    file = "devkit/cars_meta.mat" if key == "class_names" else "cars_test_annos_withlabels.mat"
    savemat(tmp_path / "stanford_cars" / file, {key: value})
    with pytest.raises(UserError, match=f"{file}.*{said}"):
        read("StanfordCars", tmp_path)


def test_whole_numbers_are_plain_digits():
    assert [whole(text) for text in ("0", "12", "", "-1", "²", "٣", "1.0", "9" * 10, "9" * 5000)] == [0, 12] + [-1] * 7
