import json
import random

import pytest
from dassl.config import get_cfg_default
from dassl.data.datasets import build_dataset

import modprompt.data.readers.eurosat  # noqa: F401 - registers
import modprompt.trainers.mpl  # noqa: F401 - SUBSAMPLE_CLASSES
from modprompt.errors import UserError


def read(root, subsample="all", shots=-1, seed=1):
    cfg = get_cfg_default()
    cfg.DATASET.NAME, cfg.DATASET.ROOT, cfg.SEED = "EuroSAT", str(root), seed
    cfg.DATASET.SUBSAMPLE_CLASSES, cfg.DATASET.NUM_SHOTS = subsample, shots
    random.seed(seed)
    return build_dataset(cfg)


def test_one_cache_serves_base_and_new(eurosat_root):
    read(eurosat_root)
    both = {item.impath for item in read(eurosat_root, shots=2).train_x}
    base = {item.impath for item in read(eurosat_root, "base", shots=2).train_x}
    new = {item.impath for item in read(eurosat_root, "new", shots=2).train_x}
    assert base | new == both
    assert len(base) == len(new) == 10


def spoil(root, change):
    """The split file, as somebody else's, with its content changed in place."""
    read(root)
    path = root / "eurosat" / "split_zhou_EuroSAT.json"
    split = json.loads(path.read_text())
    del split["modprompt"]
    change(split)
    path.write_text(json.dumps(split))


@pytest.mark.parametrize("label", [11, -1])
def test_labels_with_a_gap_are_refused(eurosat_root, label):
    def change(split):
        for rows in split.values():
            for row in rows:
                row[1] = label if row[1] == 1 else row[1]

    spoil(eurosat_root, change)
    with pytest.raises(UserError, match="training labels must be 0 to 9, but there is no 1"):
        read(eurosat_root)


def test_test_images_of_a_class_without_training_images_are_refused(eurosat_root):
    spoil(eurosat_root, lambda split: split.update(train=[row for row in split["train"] if row[1] != 9]))
    with pytest.raises(UserError, match="label 9 has test images but no training image"):
        read(eurosat_root)


def test_missing_root_and_missing_images_are_named(tmp_path):
    with pytest.raises(UserError, match=r"DATASET.ROOT: there is no folder .*nowhere; give --root"):
        read(tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"EuroSAT: there is no .*eurosat/2750; run `modprompt prepare EuroSAT"):
        read(tmp_path)
