import json
import os
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from modprompt.cli import train
from modprompt.storage.seal import arrays_hash
from tests.methods import METHODS


@pytest.fixture
def evaluate(command, tmp_path, monkeypatch):
    """Trains a method once, then evaluates it with kept features; gives accuracy and number of images encoded."""
    from modprompt.engine.encoders import VisionEncoder

    count, plain = [], VisionEncoder.forward
    monkeypatch.setattr(
        VisionEncoder, "forward", lambda self, image, *a: count.append(len(image)) or plain(self, image, *a)
    )

    def run(row, *more, cache=True):
        method = METHODS.get(row, "ZeroshotCLIP")
        if row in METHODS and not (tmp_path / "out").exists():
            assert train.main(command(method, "OPTIM.MAX_EPOCH", 1)) == 0
        count.clear()
        kept = ["TEST.FEATURE_CACHE", tmp_path / "features"] if cache else []
        words = command(method, *kept, *more)
        words[words.index("--output-dir") + 1] = str(tmp_path / "tested")
        assert train.main(["--eval-only", "--model-dir", str(tmp_path / "out"), *words]) == 0
        return json.loads((tmp_path / "tested" / "result.json").read_text())["accuracy_pct"], sum(count)

    return run


@pytest.mark.parametrize("row", ["zeroshot", "coop_end", "cocoop", "language_prompting"])
def test_images_are_encoded_once(evaluate, row, tmp_path):
    plain, images = evaluate(row, cache=False)
    assert evaluate(row) == (plain, images)
    assert evaluate(row) == (plain, 0)
    (file,) = (tmp_path / "features").iterdir()
    assert file.name.startswith("EuroSAT_test_")


def test_methods_of_one_clip_share_them(evaluate):
    accuracy, _ = evaluate("zeroshot")
    assert evaluate("coop_end")[1] == 0
    assert evaluate("zeroshot") == (accuracy, 0)


def test_methods_with_vision_prompts_keep_none(evaluate, tmp_path):
    _, images = evaluate("maple")
    assert evaluate("maple")[1] == images > 0
    assert not (tmp_path / "features").exists()


@pytest.mark.filterwarnings("default::UserWarning")
def test_other_images_classes_or_transforms_are_encoded_anew(evaluate, eurosat_root):
    _, images = evaluate("zeroshot")
    assert evaluate("zeroshot", "DATASET.SUBSAMPLE_CLASSES", "new")[1] == images
    assert evaluate("zeroshot", "INPUT.INTERPOLATION", "bilinear")[1] == images
    assert evaluate("zeroshot", "MODEL.BACKBONE.ACTIVATION", "gelu")[1] == images
    for path in (eurosat_root / "eurosat" / "2750" / "Forest").iterdir():
        os.utime(path, (0, 0))
    assert evaluate("zeroshot")[1] == images


def test_damaged_file_is_made_again(evaluate, tmp_path, capsys):
    accuracy, images = evaluate("zeroshot")
    (file,) = (tmp_path / "features").iterdir()
    file.write_bytes(b"PK nothing")
    assert evaluate("zeroshot") == (accuracy, images)
    assert ".npz does not fit the images (is damaged" in capsys.readouterr().out
    assert evaluate("zeroshot") == (accuracy, 0)


@pytest.mark.parametrize("fault", ["rows", "labels", "other numbers", "not finite", "no seal", "of another list"])
def test_file_that_does_not_fit_is_made_again_with_a_line(evaluate, tmp_path, capsys, fault):
    accuracy, images = evaluate("zeroshot")
    (file,) = (tmp_path / "features").iterdir()
    whole = dict(np.load(file))
    arrays = {name: value.copy() for name, value in whole.items()}
    stands_for = "of_another" if fault == "of another list" else file.stem.split("_", 2)[2]
    if fault == "rows":
        arrays["features"] = arrays["features"][:-1]
    elif fault == "labels":
        arrays["labels"] = arrays["labels"][::-1].copy()
    elif fault in ("other numbers", "not finite"):
        arrays["features"][3, 4] = 7 if fault == "other numbers" else np.nan
    if fault not in ("other numbers", "no seal"):  # as a program with a fault would have written it
        arrays["seal"] = np.array(arrays_hash(stands_for, arrays["features"], arrays["labels"]))
    elif fault == "no seal":
        del arrays["seal"]
    np.savez(file, **arrays)
    assert evaluate("zeroshot") == (accuracy, images)
    out = capsys.readouterr().out
    assert len([line for line in out.splitlines() if "does not fit the images (" in line]) == 1
    assert all(np.array_equal(value, whole[name]) for name, value in np.load(file).items())
    assert evaluate("zeroshot") == (accuracy, 0)


@pytest.mark.parametrize("pins", [True, False])
def test_they_are_pinned_where_the_loaders_batches_are(monkeypatch, pins):
    from modprompt.trainers.feature_cache import FeatureBatches

    pinned = []
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: pinned.append(len(tensor)) or tensor)
    loader = SimpleNamespace(batch_size=2, pin_memory=pins)
    batches = list(FeatureBatches(torch.randn(3, 4), torch.arange(3), loader))
    assert [len(batch["img"]) for batch in batches] == [2, 1]
    assert pinned == ([3, 3] if pins else [])
