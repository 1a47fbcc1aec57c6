"""DePT against its repository's numbers, which logits count, what it refuses, and files of both kinds."""

import json

import pytest
import torch

from modprompt.cli import train
from tests.conftest import ROOT, bare, published, random_clip
from tests.modprompt.methods import dept_reference as reference
from tests.modprompt.trainers.test_methods import Recorder


@pytest.fixture
def weights(tmp_path):
    """A file of the CLIP that the reference ran."""
    torch.save(published(random_clip(1, text_layers=4, vision_layers=4)), tmp_path / "weights.pt")
    return tmp_path / "weights.pt"


@pytest.mark.parametrize("name", reference.CASES)
def test_every_loss_and_all_counts_are_the_repositorys(name, weights, tmp_path, monkeypatch, capsys):
    case, expected = reference.CASES[name], json.loads(reference.GOLDEN.read_text())[name]
    folder, seen, right = reference.write_inputs(tmp_path), Recorder(monkeypatch), {}
    files = ["--config-file", str(ROOT / f"configs/trainers/{case.trainer}/{case.config}.yaml")]
    files += ["--dataset-config-file", str(ROOT / "configs/datasets/eurosat.yaml")]
    options = [word.replace("COOP.PREC", "KGCOOP.PREC") if case.base == "KgCoOp" else word for word in case.words()]
    for classes, how in (("base", []), ("new", ["--eval-only", "--model-dir", str(folder / "base")])):
        half = ["DATASET.SUBSAMPLE_CLASSES", classes]
        assert train.main([*reference.flags(folder, classes, case), *files, *how, *bare(weights), *options, *half]) == 0
        right[classes] = json.loads((folder / classes / "result.json").read_text())["correct"]
    assert [loss for *_, loss in seen.batches] == pytest.approx(expected["losses"], abs=1e-4)
    assert right == {classes: expected[classes] for classes in right}
    assert "note: logits are scaled cosines alone: the joint head was not trained on 5 of 5" in capsys.readouterr().out
