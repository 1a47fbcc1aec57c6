"""By which rule a run reads images, and who goes on with that: tests, caches, predictions."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from modprompt.cli import train
from modprompt.io.image_files import FAMILY, PEOPLE, read_rgb
from modprompt.use.trained import open_trained
from tests.conftest import ROOT
from tests.methods import METHODS
from tests.test_runs import to

RULE = "INPUT.DECODING"


@pytest.fixture
def own(command, tmp_path):
    """Words of a run on own images of 16 bits, which the two rules read as others; further options behind."""
    rng = np.random.default_rng(0)
    for part in ("train", "test"):
        for name in ("a", "b"):
            (tmp_path / "own" / part / name).mkdir(parents=True)
            for number in range(3):
                pixels = rng.integers(0, 2000, (8, 8), dtype=np.uint16)
                Image.fromarray(pixels).save(tmp_path / "own" / part / name / f"{number}.png")

    def words(method, *more, out="out"):
        found = to(command(method, "OPTIM.MAX_EPOCH", 1, *more), tmp_path / out)
        found[found.index("--root") + 1] = str(tmp_path / "own")
        found[found.index("--dataset-config-file") + 1] = str(ROOT / "configs/datasets/image_folder.yaml")
        return [*found, "DATASET.SUBSAMPLE_CLASSES", "all"]

    return words


def rule_of(folder):
    return json.loads((folder / "result.json").read_text())["input"].get(RULE)


def opened(folder, own):
    words = own(METHODS["mpl"])
    return open_trained(folder, clip=words[words.index("MODEL.BACKBONE.PATH") + 1])


def test_a_new_run_reads_as_people_see_and_its_model_too(own, tmp_path, capsys):
    assert train.main(own(METHODS["mpl"])) == 0
    assert rule_of(tmp_path / "out") == PEOPLE
    model, preprocess, _ = trained = opened(tmp_path / "out", own)
    assert trained.read_as == PEOPLE
    deep = Image.open(tmp_path / "own" / "test" / "a" / "0.png")
    seen = read_rgb(tmp_path / "own" / "test" / "a" / "0.png", PEOPLE)
    assert torch.equal(preprocess(deep), preprocess(seen))
    assert train.main(["--once", *own(METHODS["mpl"])]) == 0
    assert "This run is already finished" in capsys.readouterr().out


def test_a_test_reads_as_the_training_whose_model_it_tests(own, tmp_path, capsys):
    out = tmp_path / "out"
    assert train.main(own(METHODS["mpl"], RULE, FAMILY)) == 0
    assert opened(out, own).read_as == FAMILY
    capsys.readouterr()
    assert train.main(["--eval-only", "--model-dir", str(out), *own(METHODS["mpl"], out="tested")]) == 0
    assert f"Images are decoded with {RULE} dassl, as in the training run {out}." in capsys.readouterr().out
    assert rule_of(tmp_path / "tested") == FAMILY
    first, again = (json.loads((tmp_path / one / "result.json").read_text()) for one in ("out", "tested"))
    assert again["ece_pct"] == first["ece_pct"]
    assert train.main(["--eval-only", "--model-dir", str(out), *own(METHODS["mpl"], RULE, PEOPLE, out="given")]) == 0
    assert rule_of(tmp_path / "given") == PEOPLE


def test_the_data_set_decides_for_a_model_of_another_one(own, command, tmp_path):
    """Its record says how its own images were read; these are others."""
    assert train.main(to(command(METHODS["mpl"], "OPTIM.MAX_EPOCH", 1), tmp_path / "out")) == 0
    assert rule_of(tmp_path / "out") == FAMILY
    assert train.main(["--eval-only", "--model-dir", str(tmp_path / "out"), *own(METHODS["mpl"], out="tested")]) == 0
    assert rule_of(tmp_path / "tested") == PEOPLE
