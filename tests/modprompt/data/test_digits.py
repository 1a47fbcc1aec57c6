import hashlib
import json

import numpy as np
from dassl.config import get_cfg_default
from dassl.data.datasets import build_dataset
from PIL import Image
from sklearn.datasets import load_digits

import modprompt.data.readers.digits  # noqa: F401 - registers
import modprompt.trainers.mpl  # noqa: F401 - SUBSAMPLE_CLASSES
from modprompt.data.readers.digits import CLASS_NAMES, Digits


def cfg_for(root, subsample="all", shots=-1):
    cfg = get_cfg_default()
    cfg.DATASET.NAME, cfg.DATASET.ROOT = "Digits", str(root)
    cfg.DATASET.SUBSAMPLE_CLASSES, cfg.DATASET.NUM_SHOTS, cfg.SEED = subsample, shots, 1
    return cfg


def test_images_are_the_digits_of_scikit_learn(tmp_path):
    dataset = build_dataset(cfg_for(tmp_path))
    items = [*dataset.train_x, *dataset.val, *dataset.test]
    digits = load_digits()
    assert len(items) == len({item.impath for item in items}) == 1797
    for item in items[::97]:
        number = int(item.impath.rsplit("/", 1)[1][:-4])
        assert item.label == digits.target[number]
        assert item.classname == CLASS_NAMES[item.label]
        pixels = np.asarray(Image.open(item.impath), dtype=float) * 16 / 255
        assert np.abs(pixels - digits.images[number]).max() < 0.05


def test_split_is_fixed(tmp_path):
    Digits.write(tmp_path / "digits")
    text = (tmp_path / "digits" / "split_digits.json").read_text()
    split = json.loads(text)
    seal = split.pop("modprompt")
    assert {part: len(items) for part, items in split.items()} == {"train": 908, "val": 358, "test": 531}
    plain = json.dumps(split, indent=4, separators=(",", ": "))
    assert hashlib.sha256(plain.encode()).hexdigest() == SPLIT_SHA256 == seal["split"]


SPLIT_SHA256 = "575c920c6089031ec9183b6fd0a4c50b65d54648d5c928e8ac303e28e7a5e10e"
