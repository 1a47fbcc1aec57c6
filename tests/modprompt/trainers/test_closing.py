"""What a training says last."""

import re

import pytest

from modprompt.cli import train
from tests.modprompt.data.trees import pictures


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    return tmp_path_factory.mktemp("data")


@pytest.fixture
def said(tmp_path, digits, monkeypatch, capsys):
    """What a short run on the digits says behind `Result:`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DATA", str(digits))

    def run(trainer, *options, flags=()):
        short = ["DATASET.NUM_SHOTS", "1", "OPTIM.MAX_EPOCH", "1"]
        assert train.main([*flags, "--trainer", trainer, *short, *options]) == 0
        return capsys.readouterr().out.partition("Result: ")[2].splitlines()[1:]

    return run


IMAGES = "Images: 10 for training, 10 for validation, 531 for the test"


@pytest.mark.slow
def test_images_the_next_command_and_zero_shot_where_features_are_kept(said, tmp_path):
    assert said("ZeroshotCLIP") == ["Next: modprompt predict output/digits/shots_1/ZeroshotCLIP/glyph/seed1 IMAGE"]
    for trainer, options in (("TipAdapter", ()), ("CoOp", ("TEST.KEEP_FEATURES", "True"))):
        images, beside, following = said(trainer, *options)
        assert images == IMAGES
        assert re.fullmatch(r"Accuracy on the test images: zero-shot CLIP 94\.9%, this run 9\d\.\d%", beside)
        folder = f"output/digits/shots_1/{trainer}/glyph/seed1"
        assert following == f"Next: modprompt predict {folder} IMAGE"
        assert (tmp_path / folder / "log.txt").read_text().endswith(f"{beside}\n{following}\n")


@pytest.mark.slow
def test_zero_shot_is_left_out_where_it_costs_more(said):
    for seed, trainer, flags, options in (
        ("1", "CoOp", (), ()),  # its test keeps no features
        ("2", "CoOp", ("--once",), ("TEST.KEEP_FEATURES", "True")),
        ("3", "CoOp", (), ("TEST.KEEP_FEATURES", "True", "TRAINER.COOP.PREC", "bf16")),  # CLIP is rounded
        ("1", "MPL", (), ("TEST.KEEP_FEATURES", "True")),  # features of its prompts
    ):
        images, following = said(trainer, *options, flags=("--seed", seed, *flags))
        assert images == IMAGES
        assert following == f"Next: modprompt predict output/digits/shots_1/{trainer}/glyph/seed{seed} IMAGE"


def test_images_that_nothing_tested_are_not_counted(command, tmp_path, capsys):
    assert train.main(command("CoOp", "TEST.NO_TEST", "True", "OPTIM.MAX_EPOCH", "1")) == 0
    images, following = capsys.readouterr().out.splitlines()[-2:]
    assert re.fullmatch(r"Images: 20 for training, \d+ for validation, 0 for the test", images)
    assert following == f"Next: modprompt predict {tmp_path / 'out'} IMAGE"


def on_folders(words, tmp_path, sizes):
    """The words of a training on a person's photos instead, of two class folders in each of these folders."""
    for folder, size in sizes.items():
        pictures(tmp_path / "photos" / folder, {"one": size, "two": size})
    words[words.index("--root") + 1] = str(tmp_path / "photos")
    words[words.index("--dataset-config-file") + 1] = "image_folder"
    return [*words, "DATASET.NUM_SHOTS", "-1", "DATASET.SUBSAMPLE_CLASSES", "all", "OPTIM.MAX_EPOCH", "1"]


def test_images_kept_for_validation_are_reported_with_the_remedy(command, tmp_path, capsys):
    words = on_folders(command("CoOp"), tmp_path, {".": 60})
    assert train.main(words) == 0
    said = (
        "Of 120 photos, 60 are used for training, 24 are kept for validation and 36 are used for the test. "
        "DATASET.TRAIN_ON_VAL True trains on 84 photos."
    )
    assert said in capsys.readouterr().out.splitlines()
    on = [*words, "DATASET.TRAIN_ON_VAL", "True"]
    assert train.main([*words, "OUTPUT_DIR", str(tmp_path / "few"), "DATASET.NUM_SHOTS", "2"]) == 0
    assert "kept for validation" not in capsys.readouterr().out
    assert train.main(["--once", *on]) == 2
    assert "different finished run (DATASET.TRAIN_ON_VAL False -> True)" in capsys.readouterr().err
    on += ["OUTPUT_DIR", str(tmp_path / "on")]
    assert train.main(on) == 0
    out = capsys.readouterr().out
    assert "** CoOp on ImageFolder: all training and validation images, all classes, seed 1 **" in out
    assert "Images: 84 for training, none for validation, 36 for the test" in out.splitlines()
    assert "kept for validation" not in out
    test = ["--eval-only", "--model-dir", str(tmp_path / "on"), *words, "OUTPUT_DIR", str(tmp_path / "test")]
    assert train.main([*test, "TEST.SPLIT", "val"]) == 2
    assert "was trained on the validation images (DATASET.TRAIN_ON_VAL True)" in capsys.readouterr().err


def test_folder_with_train_alone_trains_and_says_so(command, tmp_path, capsys):
    assert train.main(on_folders(command("CoOp"), tmp_path, {"train": 5})) == 0
    out = capsys.readouterr().out
    assert (
        f"note: {tmp_path / 'photos'} has a folder train/, but neither test/ nor val/ contains images. TEST.NO_TEST is set"
        in out
    )
    assert "Images: 10 for training, none for validation, 0 for the test" in out.splitlines()


def test_test_images_are_not_counted_as_validation_images(command, tmp_path, capsys):
    assert train.main(on_folders(command("CoOp"), tmp_path, {"train": 5, "test": 2})) == 0
    assert "Images: 10 for training, none for validation, 4 for the test" in capsys.readouterr().out.splitlines()
