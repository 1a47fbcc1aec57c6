"""DePT against its repository's numbers, which logits count, what it refuses, and files of both kinds."""

import json

import pytest

from modprompt.cli import train
from tests.conftest import ROOT, bare
from tests.modprompt.methods import dept_reference as reference
from tests.modprompt.trainers.test_methods import Recorder


@pytest.mark.parametrize("name", reference.CASES)
def test_every_loss_and_all_counts_are_the_repositorys(name, tmp_path, monkeypatch, capsys):
    case, expected = reference.CASES[name], json.loads(reference.GOLDEN.read_text())[name]
    folder, seen, right = reference.write_inputs(tmp_path), Recorder(monkeypatch), {}
    files = ["--config-file", str(ROOT / f"configs/trainers/{case.trainer}/{case.config}.yaml")]
    files += ["--dataset-config-file", str(ROOT / "configs/datasets/eurosat.yaml")]
    case.save_clip(tmp_path / "clip.pt")
    for classes, how in (("base", []), ("new", ["--eval-only", "--model-dir", str(folder / "base")])):
        words = [*reference.flags(folder, classes, case), *files, *how, *bare(tmp_path / "clip.pt", case.heads)]
        assert train.main([*words, *case.words(), "DATASET.SUBSAMPLE_CLASSES", classes]) == 0
        right[classes] = json.loads((folder / classes / "result.json").read_text())["correct"]
    assert [loss for *_, loss in seen.batches] == pytest.approx(expected["losses"], abs=1e-4)
    assert right == {classes: expected[classes] for classes in right}
    assert "note: logits are scaled cosines alone: the joint head was not trained on 5 of 5" in capsys.readouterr().out
