"""result.json says all that decides a result."""

import time
from types import SimpleNamespace

import pytest
import torch

from modprompt.cli import train
from modprompt.io.settings import settings_hash
from modprompt.io.versions import versions
from modprompt.trainers import result as results
from modprompt.trainers.prompt_trainer import PromptTrainer
from tests.methods import METHODS
from tests.test_runs import result, to


def test_fields_of_a_training(mpl_flags, mpl_options, tmp_path):
    assert train.main([*mpl_flags, *mpl_options]) == 0  # one of its own: it says where its config lay
    found = result(tmp_path / "out")
    assert (found["trainer"], found["dataset"], found["seed"], found["shots"]) == ("MPL", "EuroSAT", 1, 4)
    assert "notes" not in found  # there is nothing to say beside its settings
    assert (found["classes"], found["tested_on"], found["images"], found["evaluated"]) == ("base", "test", 20, "")
    assert found["correct"] == pytest.approx(found["accuracy_pct"] * 20 / 100)
    assert 0 <= found["macro_f1_pct"] <= 100
    assert found["elapsed_s"] > 0
    assert 0.05 < found["peak_gib"] < 24
    assert found["schedules"] == {
        "text": "[[0, 1], [1, 1], [1, 1], [0, 0]]",
        "vision": "[[0, 1], [1, 2], [1, 2], [0, 0]]",
    }
    assert set(found["versions"]) == {*versions(), "torch", "torchvision", "dassl"}
    assert found["versions"]["torch"] == torch.__version__  # with what is behind the plus
    assert found["config_hash"] == settings_hash(found["settings"])
    assert found["settings"]["DATASET.NUM_SHOTS"] == "4"
    assert found["settings"]["OPTIM.LR"] == "0.0035"
    assert set(found["sources"]) == set(found["settings"])
    sources = {key: found["sources"][key] for key in ("SEED", "OPTIM.LR", "DATASET.NUM_SHOTS")}
    config = mpl_flags[mpl_flags.index("--config-file") + 1]
    assert sources == {"SEED": "flag --seed", "OPTIM.LR": f"file {config}", "DATASET.NUM_SHOTS": "option"}
    assert not {"DATASET.ROOT", "OUTPUT_DIR", "MODEL.BACKBONE.PATH"} & set(found["settings"])


@pytest.mark.parametrize(
    ("more", "facts", "told"),
    [
        (("SEED", -2), {"seed": -1}, "no seed (results differ between runs)"),
        (("DATASET.NUM_SHOTS", -1), {"shots": -1}, "all training images"),
        (
            ("DATASET.NUM_SHOTS", 16),
            {"shots": 16, "notes": ["5 of 5 classes have fewer than 16 images (class Annual Crop Land has 6)"]},
            "note: 5 of 5 classes have fewer than 16 images",
        ),
        (
            ("OPTIM.WARMUP_EPOCH", 2),
            {"notes": ["all 2 epochs are warm-up epochs with the learning rate at 1e-05"]},
            "note: OPTIM.WARMUP_EPOCH is 2, so all 2 epochs are warm-up epochs with the learning rate at 1e-05.",
        ),
        (
            ("OPTIM.WARMUP_EPOCH", 3, "OPTIM.WARMUP_TYPE", "linear", "OPTIM.MAX_EPOCH", 1),
            {"notes": ["the only epoch is a warm-up epoch with the learning rate rising from 1e-05"]},
            "note: OPTIM.WARMUP_EPOCH is 3, so the only epoch is a warm-up epoch",
        ),
    ],
    ids=["no seed", "no shots", "fewer images than shots", "warm-up", "linear warm-up"],
)
@pytest.mark.slow
def test_what_a_training_was_without_is_told_and_recorded(more, facts, told, command, tmp_path, capsys):
    words = command(METHODS["mpl"], *more)
    if "SEED" in more:
        del words[words.index("--seed") : words.index("--seed") + 2]
    assert train.main(words) == 0
    out, found = capsys.readouterr().out, result(tmp_path / "out")
    assert told in out
    assert {key: found[key] for key in facts} == facts
    tested = to([*words[:2], "--eval-only", "--model-dir", str(tmp_path / "out"), *words[2:]], tmp_path / "tested")
    assert train.main(tested) == 0
    assert "note: " not in capsys.readouterr().out  # nothing is trained
    assert "notes" not in result(tmp_path / "tested")


@pytest.mark.slow
def test_hash_of_the_settings_is_that_of_what_was_asked_not_of_how(mpl_flags, mpl_options, tmp_path):
    hashes = []
    for number, more in enumerate(([], ["OPTIM.LR", "35e-4", "TRAIN.PRINT_FREQ", "9"], ["OPTIM.LR", "0.003"])):
        folder = tmp_path / str(number)
        assert train.main([*to(mpl_flags, folder), *mpl_options, "OPTIM.MAX_EPOCH", "1", *more]) == 0
        hashes.append(result(folder)["config_hash"])
    assert hashes[0] == hashes[1] != hashes[2]


@pytest.fixture
def cut_off(monkeypatch):
    """Has every epoch take a fifth of a second more, and the first start end in the second of two."""
    plain, starts = PromptTrainer.run_epoch, []

    def run_epoch(self):
        time.sleep(0.2)
        if self.epoch == 1 and not starts:
            starts.append(self.epoch)
            raise KeyboardInterrupt
        plain(self)

    monkeypatch.setattr(PromptTrainer, "run_epoch", run_epoch)


@pytest.mark.slow
def test_seconds_of_training_are_those_of_all_starts(command, tmp_path, cut_off, monkeypatch):
    words = command(METHODS["coop_end"])
    assert train.main(words) == 130
    monkeypatch.setenv("MODPROMPT_JOBS", "3")
    assert train.main(words) == 0
    found = result(tmp_path / "out")
    assert 0.4 <= found["training_s"] < 60
    assert found["testing_s"] > 0
    assert (found["trained_parameters"], found["jobs_at_once"]) == (METHODS["coop_end"].parameters, 3)


@pytest.mark.slow
def test_seconds_beside_others_on_a_gpu_are_not_taken_on(command, tmp_path, cut_off, monkeypatch):
    words = command(METHODS["coop_end"])
    monkeypatch.setenv("MODPROMPT_RUNS_ON_GPU", "2")
    assert train.main(words) == 130
    monkeypatch.delenv("MODPROMPT_RUNS_ON_GPU")
    assert train.main(words) == 0
    assert "training_s" not in result(tmp_path / "out")


def test_result_says_how_large_the_gpu_is_and_how_many_shared_it(monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda *_: SimpleNamespace(total_memory=80 << 30))
    monkeypatch.delenv("MODPROMPT_RUNS_ON_GPU", raising=False)
    assert results.of_gpu(True) == {"gpu_gib": 80.0}
    monkeypatch.setenv("MODPROMPT_RUNS_ON_GPU", "2")
    assert results.of_gpu(True) == {"gpu_gib": 80.0, "runs_on_gpu": 2}
    assert results.of_gpu(False) == {}


def test_what_trains_nothing_has_no_parameters_and_no_training(command, tmp_path):
    assert train.main(command("ZeroshotCLIP")) == 0
    found = result(tmp_path / "out")
    assert found["trained_parameters"] == 0
    assert "training_s" not in found
