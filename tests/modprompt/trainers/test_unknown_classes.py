"""TEST.OOD: known classes against unknown ones."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from modprompt.cli import train
from modprompt.trainers.unknown_classes import separation
from modprompt.use.prediction import predict
from modprompt.use.trained import open_trained
from tests.methods import METHODS, PHRASES
from tests.test_runs import result


def plain(known, unknown):
    """AUROC by all pairs, ties half; FPR at the highest threshold that 95% of the known pass, in percent."""
    wins = [(one > other) + 0.5 * (one == other) for one in known for other in unknown]
    for threshold in sorted({*known, *unknown}, reverse=True):
        if np.mean(known >= threshold) >= 0.95:
            return 100 * np.mean(wins), 100 * np.mean(unknown >= threshold)
    raise AssertionError


@pytest.mark.parametrize("seed", range(3))
def test_separation_is_that_of_all_pairs(seed):
    rng = np.random.default_rng(seed)
    known, unknown = rng.integers(3, 40, 57) / 8, rng.integers(0, 30, 31) / 8  # with ties
    found = separation(known, unknown)
    assert (found["auroc_pct"], found["fpr95_pct"]) == pytest.approx(plain(known, unknown), abs=1e-9)


def test_new_classes_against_base_classes(mpl_flags, mpl_options, tmp_path, capsys):
    plain_words = [*mpl_flags, *mpl_options]
    assert train.main(plain_words) == 0
    before = result(tmp_path / "out")
    assert "ood" not in before
    torch.manual_seed(5)
    assert train.main(["--once", *plain_words, "TEST.OOD", "new"]) == 0  # nothing is trained again
    said = capsys.readouterr().out
    assert "is repeated, because the model was tested without TEST.OOD new." in said
    assert "Detection of unknown classes (new, 20 images): probability: AUROC" in said
    after = result(tmp_path / "out")
    assert {name: after[name] for name in ("accuracy_pct", "ece_pct", "prompts_hash")} == {
        name: before[name] for name in ("accuracy_pct", "ece_pct", "prompts_hash")
    }
    found = after["ood"]
    assert (found["of"], found["images"]) == ("new", 20)
    for score in ("probability", "energy"):
        assert 0 <= found[score]["auroc_pct"] <= 100
        assert 0 <= found[score]["fpr95_pct"] <= 100
    assert "note" not in found
    assert train.main(["--once", *plain_words, "TEST.OOD", "new"]) == 0
    assert "This run is already finished" in capsys.readouterr().out
    words = [*mpl_flags, "--eval-only", "--model-dir", str(tmp_path / "out"), *mpl_options, "TEST.OOD", "new"]
    words[words.index("--output-dir") + 1] = str(tmp_path / "test")
    assert train.main(words) == 0
    assert result(tmp_path / "test")["ood"] == found


def test_energy_of_a_cache_is_not_comparable(command, tmp_path, capsys):
    assert train.main(command("TipAdapter", "TEST.OOD", "new")) == 0
    assert "its energy score cannot be compared" in capsys.readouterr().out
    assert "not on CLIP's scale" in result(tmp_path / "out")["ood"]["note"]


@pytest.mark.parametrize("mean", ["plain", "unit"])
def test_energy_of_shorter_class_features_is_not_comparable(mean, command, tmp_path, capsys):
    more = ["TRAINER.LightRA.SENTENCES", PHRASES, "TRAINER.LightRA.MEAN", mean, "OPTIM.MAX_EPOCH", 1]
    assert train.main(command(METHODS["lightra"], *more, "TEST.OOD", "new")) == 0
    said = "note: class features are means" in capsys.readouterr().out
    assert (said, "note" in result(tmp_path / "out")["ood"]) == (mean == "plain", mean == "plain")


@pytest.mark.parametrize(
    ("more", "why"),
    [
        (
            ("TEST.OOD", "new", "DATASET.SUBSAMPLE_CLASSES", "all"),
            "can only be new if the model is trained on the base classes",
        ),
        (("TEST.OOD", "eurosat"), "is the data set of the run itself"),
        (("TEST.OOD", "eurosta"), "Unknown data set 'eurosta'. Did you mean 'EuroSAT'?"),
        (
            ("TEST.OOD", "dtd", "ACTIVE.ROUNDS", "1", "ACTIVE.METHOD", "random"),
            "is not supported in active-learning rounds",
        ),
        (("TEST.OOD", "new", "TEST.NO_TEST", "True"), "Remove TEST.SPLIT and TEST.NO_TEST"),
    ],
)
def test_what_names_no_unknown_images_is_refused_before_any_work(mpl_flags, mpl_options, more, why, tmp_path, capsys):
    assert train.main([*mpl_flags, *mpl_options, *more]) == 2
    assert why in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_outputs_that_are_no_logits_are_one_line(mpl_flags, mpl_options, monkeypatch, capsys):
    monkeypatch.setattr("modprompt.trainers.test_predictions.predictions_fit", lambda *_: False)
    assert train.main([*mpl_flags, *mpl_options, "TEST.OOD", "new"]) == 2
    said = capsys.readouterr().err
    assert "TEST.OOD new is not supported by the trainer MPL, because the test did not give one finite logit" in said


def test_a_class_of_both_data_sets_is_refused(mpl_flags, mpl_options, eurosat_root, tmp_path, capsys):
    for name in ("Forest", "Annual_Crop Land", "Moon"):
        folder = eurosat_root / "caltech-101" / "101_ObjectCategories" / name
        folder.mkdir(parents=True)
        for number in range(4):
            picture = next((eurosat_root / "eurosat").rglob("*.jpg"))
            (folder / f"{number}.jpg").write_bytes(picture.read_bytes())
    assert train.main([*mpl_flags, *mpl_options, "TEST.OOD", "caltech101"]) == 2
    said = capsys.readouterr()
    assert "share the classes annual crop land, forest. Set TEST.OOD to a data set with other classes" in said.err
    assert "loss" not in said.out  # it is said before the training


def test_threshold_keeps_most_held_out_validation_images(trained, clip_file, tmp_path):
    (split,) = (tmp_path / "data").glob("**/split*.json")
    folder = split.parent / "2750"
    images = [folder / path for path, label, _ in json.loads(split.read_text())["val"] if label < 5]  # base classes
    model = open_trained(trained, device="cpu")
    shares = sorted(one.probabilities[0] for one in predict(model, images))
    found = result(trained)["unknown_below"]
    assert found["images"] == len(images) > 0
    assert shares[len(images) // 20] - 1e-4 <= found["probability"] <= shares[len(images) // 20]


def test_validation_images_that_are_tested_give_no_threshold(tmp_path):
    for part in ("train", "test"):
        for name in ("one", "two"):
            (tmp_path / "photos" / part / name).mkdir(parents=True)
            for number in range(2):
                Image.new("L", (32, 32), 90 * number).save(tmp_path / "photos" / part / name / f"{part}{number}.png")
    words = ["--root", tmp_path / "photos", "--trainer", "CoOp", "--output-dir", tmp_path / "out", "OPTIM.MAX_EPOCH", 1]
    assert train.main([*map(str, words)]) == 0
    assert "unknown_below" not in result(tmp_path / "out")
