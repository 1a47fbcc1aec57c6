"""Validation where a data set has no validation images of its own."""

import json
import random
import shutil

import pytest
import torch

from modprompt.cli import train
from modprompt.errors import UserError
from tests.conftest import ROOT
from tests.methods import METHODS
from tests.modprompt.data import test_readers, trees


def read(root, name="ImageNet", shots=2, half="all", final="best_val", split="test", val_from_test=False, by=""):
    options = ["TEST.FINAL_MODEL", final, "TEST.SPLIT", split, "DATASET.VAL_FROM_TEST", val_from_test]
    options += ["DATASET.CHOOSE_BY", by]
    return test_readers.read(name, root, shots, half, seed=1, options=options)


@pytest.fixture
def imagenet(tmp_path):
    trees.imagenet(tmp_path)
    return tmp_path


def paths(items):
    return [item.impath for item in items]


@pytest.mark.parametrize(("final", "split"), [("best_val", "test"), ("last_step", "val")])
def test_training_images_that_were_not_drawn_are_held_out(imagenet, capsys, final, split):
    plain = read(imagenet, final="last_step")
    assert plain.val is plain.test
    assert plain.selected_on == ""
    state = random.getstate()
    shutil.rmtree(imagenet / "imagenet" / "split_fewshot")
    dataset = read(imagenet, final=final, split=split)
    assert paths(dataset.train_x) == paths(plain.train_x)
    assert paths(dataset.test) == paths(plain.test)
    assert all("/images/train/" in path for path in paths(dataset.val))
    assert not set(paths(dataset.val)) & set(paths(dataset.train_x))
    assert [item.label for item in dataset.val] == [0, 1, 1, 2, 2, 3, 3, 4, 4]  # of the first class one is left
    assert dataset.selected_on == "held out"
    assert not dataset.own_validation
    assert random.getstate() == state
    said = "ImageNet has no validation images, so 9 training images are held out for selecting the best checkpoint (up to 2 per class)."
    assert said in capsys.readouterr().out


def test_held_out_images_are_at_most_four_a_class_and_those_of_the_half_labelled_anew(imagenet):
    labels = [item.label for item in read(imagenet, shots=8).val]
    assert labels == [2] * 4 + [3] * 4 + [4] * 4  # 3 and 8 images are all drawn
    halves = [read(imagenet, half=half).val for half in ("base", "new")]
    assert [[item.label for item in val] for val in halves] == [[0, 1, 1, 2, 2], [0, 0, 1, 1]]
    assert [*paths(halves[0]), *paths(halves[1])] == paths(read(imagenet).val)


@pytest.mark.parametrize("shots", [-1, 30])
def test_nothing_can_be_held_out_where_all_images_are_used(imagenet, shots):
    with pytest.raises(
        UserError, match="no training images are left for this purpose. Reduce DATASET.NUM_SHOTS, .*VAL_FROM_TEST"
    ):
        read(imagenet, shots=shots)
    assert read(imagenet, shots=shots, final="last_step").val is not None


@pytest.mark.parametrize("final", ["best_val", "last_step"])
def test_familys_way_is_one_for_a_split_with_an_empty_list_too(tmp_path, final):
    trees.eurosat(tmp_path)
    read(tmp_path, "EuroSAT")
    path = tmp_path / "eurosat" / "split_zhou_EuroSAT.json"
    split = json.loads(path.read_text())
    path.write_text(json.dumps({"train": split["train"], "val": [], "test": split["test"]}))
    dataset = read(tmp_path, "EuroSAT", final=final, val_from_test=True)
    assert dataset.val is dataset.test
    assert dataset.selected_on == ("test" if final == "best_val" else "")
    assert not read(tmp_path, "EuroSAT", final="last_step").val


def test_variants_have_nothing_to_choose_by(tmp_path):
    trees.imagenet_a(tmp_path)
    assert read(tmp_path, "ImageNetA", final="last_step").val is None
    with pytest.raises(
        UserError,
        match="ImageNetA has only test images, and therefore no validation images for selecting the best checkpoint. Set TEST.FINAL_MODEL",
    ):
        read(tmp_path, "ImageNetA", split="val", final="last_step")
    dataset = read(tmp_path, "ImageNetA", split="val", val_from_test=True)
    assert paths(dataset.val) == paths(dataset.test)
    assert dataset.selected_on == "test"


def test_as_many_validation_images_as_of_training_are_those_drawn_behind_them(tmp_path):
    trees.eurosat(tmp_path)
    few = read(tmp_path, "EuroSAT", shots=6)
    assert (few.own_validation, few.selected_on) == (True, "validation")
    whole = read(tmp_path, "EuroSAT", shots=-1, final="last_step")
    dataset = read(tmp_path, "EuroSAT", shots=6, final="last_step", by="as many")
    assert dataset.selected_on == "as many validation images as of training"
    random.seed(1)
    drawn = []
    for images in (whole.train_x, whole.val):
        labels = dict.fromkeys(image.label for image in images)
        own = [[image.impath for image in images if image.label == label] for label in labels]
        drawn.append([path for paths in own for path in (random.sample(paths, 6) if len(paths) >= 6 else paths)])
    assert [paths(dataset.train_x), paths(dataset.val)] == drawn
    assert len(dataset.val) > len(few.val)


@pytest.mark.parametrize("own_val", [pytest.param(True, marks=pytest.mark.slow), False])
def test_best_epoch_is_not_chosen_on_other_images_after_a_kill(own_val, command, tmp_path, capsys):
    root, out = tmp_path / "own", tmp_path / "out"
    for part, size in (("train", 6), ("test", 3), *([("val", 2)] if own_val else [])):
        trees.pictures(root / part, {"a": size, "b": size})
    words = command(METHODS["mpl"], "OPTIM.MAX_EPOCH", 2, "TEST.FINAL_MODEL", "best_val")
    words[words.index("--root") + 1] = str(root)
    words[words.index("--dataset-config-file") + 1] = str(ROOT / "configs/datasets/image_folder.yaml")
    words += ["DATASET.SUBSAMPLE_CLASSES", "all"]
    chosen_on = "validation" if own_val else "held out"
    assert train.main(words) == 0
    (path,) = out.glob("*/model.pth.tar-2")
    chosen_by = torch.load(path, weights_only=True)["modprompt"]["run"]["settings"]["the images to choose by"]
    assert chosen_by.startswith(f"{chosen_on} 2:")
    assert ("held out for selecting the best checkpoint" in (out / "log.txt").read_text()) != own_val
    test = [*words, "DATASET.NUM_SHOTS", "-1"]  # nothing could be held out
    test[test.index("--output-dir") + 1] = str(tmp_path / "tested")
    capsys.readouterr()
    assert train.main(["--eval-only", "--model-dir", str(out), *test]) == 0
    assert "held out" not in capsys.readouterr().out
    assert json.loads((tmp_path / "tested" / "result.json").read_text())["selected_on"] == chosen_on
    assert train.main(words) == 0
    assert "is already finished" in capsys.readouterr().out
    trees.pictures(root / ("val" if own_val else "train"), {"a": 3, "b": 3}, start=20)
    assert train.main(words) == 2
    assert "contains a run with other settings (the " in capsys.readouterr().err
