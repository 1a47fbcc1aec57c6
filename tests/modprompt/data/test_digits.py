import errno
import json
import shutil

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from modprompt.data.published import DIGITS_SHA256
from modprompt.data.readers.digits import CLASS_NAMES, Digits
from modprompt.errors import UserError
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


def test_second_writer_leaves_what_the_first_wrote(tmp_path):
    images = tmp_path / "digits" / "images"
    Digits.write(tmp_path / "digits")
    before = images.stat().st_ino
    Digits.write(tmp_path / "digits")
    assert images.stat().st_ino == before
    images.rename(tmp_path / ".digits-part")  # as a killed writer leaves it
    shutil.rmtree(tmp_path / "digits")
    Digits.write(tmp_path / "digits")
    assert [path.name for path in tmp_path.iterdir()] == ["digits"]


def test_full_disk_leaves_nothing(tmp_path, monkeypatch):
    save = Image.Image.save

    def until_full(picture, path):
        if path.name == "0013.png":
            raise OSError(errno.ENOSPC, "No space left on device")
        save(picture, path)

    monkeypatch.setattr(Image.Image, "save", until_full)
    with pytest.raises(UserError, match=r"^Digits: cannot write .*digits \(No space left on device\): give another"):
        Digits.write(tmp_path / "digits")
    assert list(tmp_path.iterdir()) == []
