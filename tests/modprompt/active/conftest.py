"""A data set of a few files, as readers give it."""

import pytest
from dassl.data.datasets import DatasetBase, Datum

NAMES = ("cat", "dog", "eel")


@pytest.fixture
def dataset(tmp_path):
    """Nine training images of three classes in turn, 0.jpg to 8.jpg; the first three also serve as test images."""
    images = []
    for number in range(9):
        path = tmp_path / "images" / f"{number}.jpg"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(bytes(number))
        images.append(Datum(str(path), label=number % 3, classname=NAMES[number % 3]))
    made = DatasetBase(train_x=images, val=None, test=images[:3])
    made.image_root = str(tmp_path / "images")
    return made


@pytest.fixture
def unlabelled(dataset):
    """The same with labels of the first two alone."""
    dataset.pool = [Datum(image.impath, label=-1) for image in dataset.train_x[2:]]
    dataset._train_x = dataset.train_x[:2]
    return dataset
