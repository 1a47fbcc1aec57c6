import json

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

from modprompt.data.published import DIGITS_SHA256
from modprompt.data.readers.digits import CLASS_NAMES
from tests.modprompt.data.test_readers import read


def test_images_are_the_digits_of_scikit_learn_and_the_split_is_fixed(tmp_path):
    dataset = read("Digits", tmp_path)
    assert [len(items) for items in (dataset.train_x, dataset.val, dataset.test)] == [908, 358, 531]
    items = [*dataset.train_x, *dataset.val, *dataset.test]
    digits = load_digits()
    assert len({item.impath for item in items}) == 1797
    for item in items[::97]:
        number = int(item.impath.rsplit("/", 1)[1][:-4])
        assert item.label == digits.target[number]
        assert item.classname == CLASS_NAMES[item.label]
        pixels = np.asarray(Image.open(item.impath), dtype=float) * 16 / 255
        assert np.abs(pixels - digits.images[number]).max() < 0.05
    split = json.loads((tmp_path / "digits" / "split_digits.json").read_text())
    assert dataset.split_facts == {"name": "Digits", "status": "ours", "hash": DIGITS_SHA256}
    assert split["modprompt"]["split"] == DIGITS_SHA256
