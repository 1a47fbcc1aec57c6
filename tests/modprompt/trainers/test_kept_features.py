"""Base and new classes together: on features that tests have kept the numbers are those of images encoded anew."""

import json
import os

import numpy as np
import pytest

from modprompt.cli import train
from modprompt.io import result as results
from modprompt.io.arrays import read_arrays, write_arrays
from modprompt.io.files import sha256_of
from modprompt.io.records import sealed
from tests.conftest import replace_unnoticed
from tests.methods import METHODS
from tests.test_runs import to

PASSES = {"hicropl": 2}  # of an image through an image side, where that is not one
HELD_OUT = {
    "zeroshot": 20
}  # validation images that a run without training passes, for the threshold of unknown classes


@pytest.fixture
def encoded(monkeypatch):
    """How many images went through an image side since it was last cleared."""
    from modprompt.engine.encoders import VisionEncoder

    count, plain = [], VisionEncoder.forward
    monkeypatch.setattr(
        VisionEncoder, "forward", lambda self, image, *more: count.append(len(image)) or plain(self, image, *more)
    )
    return count


class Runs:
    """Runs of a method on halves of the classes, and tests of all of them."""

    method = "ZeroshotCLIP"

    def __init__(self, command, out, encoded):
        self.command, self.out, self.encoded = command, out, encoded
        self.kept = ["TEST.FEATURES_OF", os.pathsep.join(str(out / half) for half in ("base", "new"))]

    def words(self, name, classes, *more):
        given = ("OPTIM.MAX_EPOCH", 1, *more, "DATASET.SUBSAMPLE_CLASSES", classes)
        words, trains = to(self.command(self.method, *given), self.out / name), self.method != "ZeroshotCLIP"
        tested = ["--model-dir", str(self.out / "base")] if trains else []
        return words if trains and name == "base" else ["--eval-only", *tested, *words]

    def halves(self, row, *more):
        self.method = METHODS.get(row, "ZeroshotCLIP")
        for half in ("base", "new"):
            assert train.main(self.words(half, half, *more)) == 0

    def all(self, name, *more):
        """The result, and how many images were encoded."""
        self.encoded.clear()
        assert train.main(self.words(name, "all", "TEST.BASE_NEW", "True", *more)) == 0
        return results.read(self.out / name).result, sum(self.encoded)


@pytest.fixture
def runs(command, tmp_path, encoded):
    return Runs(command, tmp_path, encoded)


def numbers(result):
    keys = ("halves", "images", "correct", "accuracy_pct", "macro_f1_pct", "top5_pct", "ece_pct", "prompts_hash")
    return {key: result.get(key) for key in keys}


@pytest.mark.slow
@pytest.mark.parametrize("row", ["zeroshot", "cocoop", "hicropl"])  # nothing learned, features of images, two passes
def test_the_halves_are_the_same_on_kept_features_and_on_images(runs, row):
    runs.halves(row, "TEST.KEEP_FEATURES", "True")
    kept, none = runs.all("kept", *runs.kept)
    anew, images = runs.all("anew")
    assert (none, images) == (0, PASSES.get(row, 1) * anew["images"] + HELD_OUT.get(row, 0))
    assert numbers(kept) == numbers(anew)
    assert kept["test_files"] == anew["test_files"]  # to the last digit of every probability
    base, new = (kept["halves"][half] for half in ("base", "new"))
    assert base["images"] + new["images"] == kept["images"]
    assert base["correct"] + new["correct"] == kept["correct"]


@pytest.mark.slow
def test_a_test_that_keeps_features_has_the_numbers_of_one_that_does_not(runs):
    runs.halves("mpl", "TEST.KEEP_FEATURES", "True")
    with_them = [results.read(runs.out / half).result for half in ("base", "new")]
    runs.halves("mpl")
    without = [results.read(runs.out / half).result for half in ("base", "new")]
    assert list(map(numbers, with_them)) == list(map(numbers, without))
    assert not (runs.out / "base" / "test" / "features.npz").exists()  # of the earlier test


def as_left(path):
    """Have result.json name a file as if its test had left it so."""
    record = path.parents[1] / "result.json"
    content = {key: value for key, value in json.loads(record.read_text()).items() if key != "modprompt"}
    content["test_files"]["features.npz"] = sha256_of(path)
    record.write_text(json.dumps(sealed(content, 2)))


@pytest.mark.slow
def test_what_is_not_of_this_very_test_is_encoded_anew_with_one_line(runs, eurosat_root, capsys):
    runs.halves("coop_end", "TEST.KEEP_FEATURES", "True")
    right, images = runs.all("right")
    file = runs.out / "new" / "test" / "features.npz"
    whole = file.read_bytes()

    def refused(name, why, *more):
        capsys.readouterr()
        found, count = runs.all(name, *(more or runs.kept))
        (line,) = [one for one in capsys.readouterr().out.splitlines() if one.startswith("TEST.FEATURES_OF ")]
        assert why in line
        assert "is not used, and all images are encoded again. Reason: " in line
        assert (numbers(found), count) == (numbers(right), images)

    refused(
        "half", "there are no stored features for 20 of the 40 test images", "TEST.FEATURES_OF", str(runs.out / "base")
    )
    refused("none", "stored no image features", "TEST.FEATURES_OF", str(runs.out / "nowhere"))
    file.write_bytes(whole[:-9])
    refused("damaged", "is damaged, or comes from a different test")
    file.write_bytes(whole)
    arrays = read_arrays(file)
    for name, other in {
        "clip": {"made_by": np.array("another CLIP")},
        "width": {"features": arrays["features"][:, :1]},
        "type": {"features": arrays["features"].astype(float)},
        "images": {"images": arrays["images"][:3]},
    }.items():
        write_arrays(file, **{**arrays, **other})
        as_left(file)
        refused(name, "were computed with a different CLIP model, different prompts or different image preprocessing")
    write_arrays(file, rows=arrays["features"])
    as_left(file)
    refused("version", "features is not a file in the archive")
    file.unlink()
    refused("gone", "is missing, although result.json lists")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("row", "name", "more", "why"),
    [
        ("coop_end", "trained", (), "were computed with a different CLIP model, different prompts"),
        ("coop_end", "other", ("INPUT.INTERPOLATION", "bilinear"), "different image preprocessing"),
        (
            "coop_end",
            "precision",
            ("TRAINER.COOP.PREC", "bf16"),
            "were computed with a different CLIP model, different prompts",
        ),
        ("coop_end", "replaced", (), "of the 40 test images"),
    ],
)
@pytest.mark.filterwarnings("default::UserWarning")
def test_another_model_or_other_images_are_refused(runs, eurosat_root, capsys, row, name, more, why):
    runs.halves(row, "TEST.KEEP_FEATURES", "True")
    if name == "trained":  # the training is another one since, and its test of the new classes is not
        words = [*runs.words("base", "base", "TEST.KEEP_FEATURES", "True"), "OPTIM.WARMUP_CONS_LR", "0.01"]
        for path in (runs.out / "base").rglob("*"):
            path.unlink() if path.is_file() else None
        assert train.main(words) == 0
    if name == "replaced":
        for path in (eurosat_root / "eurosat" / "2750").glob("[A-H]*/*"):
            replace_unnoticed(path)
    capsys.readouterr()
    _, images = runs.all("all", *runs.kept, *more, *(("OPTIM.WARMUP_CONS_LR", "0.01") if name == "trained" else ()))
    assert images > 0
    assert len([one for one in capsys.readouterr().out.splitlines() if why in one]) == 1


def test_copies_of_the_images_have_the_stored_features(runs, eurosat_root):
    runs.halves("zeroshot", "TEST.KEEP_FEATURES", "True")
    for path in (eurosat_root / "eurosat" / "2750").glob("*/*"):
        path.write_bytes(path.read_bytes())
    kept, images = runs.all("kept", *runs.kept)
    assert images == 0
    assert numbers(kept) == numbers(runs.all("anew")[0])


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("DATASET.SUBSAMPLE_CLASSES", "new"), "DATASET.SUBSAMPLE_CLASSES to all."),
        (("TEST.BASE_NEW", "yes"), "TEST.BASE_NEW: the value must be True or False, got 'yes'"),
    ],
)
def test_settings_that_do_not_fit_are_one_line(runs, capsys, words, why):
    assert train.main([*runs.words("x", "all"), "TEST.BASE_NEW", "True", *words]) != 0
    (line,) = capsys.readouterr().err.splitlines()
    assert why in line


def test_a_training_and_a_model_of_all_classes_are_refused(runs, command, capsys):
    runs.method = METHODS["coop_end"]
    words = to(command(runs.method, "OPTIM.MAX_EPOCH", 1, "DATASET.SUBSAMPLE_CLASSES", "all"), runs.out / "base")
    assert train.main([*words, "TEST.BASE_NEW", "True"]) != 0
    assert "only supported in a test of all classes. Add --eval-only" in capsys.readouterr().err
    assert train.main(words) == 0
    capsys.readouterr()
    assert train.main(runs.words("all", "all", "TEST.BASE_NEW", "True")) != 0
    assert "was trained on all classes. Set --model-dir" in capsys.readouterr().err
