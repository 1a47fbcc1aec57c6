"""What version 0.2.0 left stays what it was: results finished, checkpoints readable, a test in a training's place a test.

The tree beside this file was made by `python -m experiments.run experiment.yaml --out /old/out --data /old/data` with
that version, without logs and pictures; trainings in `killed/` by it, too, cut off behind two of four epochs, beside the
steps of the same that were not.
"""

import csv
import shutil
from pathlib import Path

import pytest

from modprompt.cli import push, train
from modprompt.experiments.plan import spec
from modprompt.experiments.plan.inputs import Inputs
from modprompt.experiments.plan.protocols import jobs
from modprompt.experiments.running import state
from modprompt.use.trained import open_trained
from tests.conftest import ROOT

OLD = Path(__file__).parent / "version_0_2_0"


@pytest.fixture(scope="module")
def experiment():
    return spec.read(OLD / "experiment.yaml")


@pytest.fixture
def out(tmp_path):
    return Path(shutil.copytree(OLD / "out", tmp_path / "out"))


def job_of(experiment, label, tests):
    return next(job for job in jobs(experiment) if job.method.label == label and job.tests is tests)


def test_its_experiment_is_finished_wherever_it_lies(experiment, out):
    stands = state.of_all(jobs(experiment), out, Inputs(out, None))
    assert [(job.title, one.name, one.why) for job, one in stands if one.name != state.FINISHED] == []
    assert len(stands) == 8


def test_its_training_and_its_test_are_not_run_again(experiment, out, tmp_path, capsys):
    training, test = (out / job_of(experiment, "CoOp", tests).folder for tests in (False, True))
    words = ["--once", "--root", str(tmp_path / "data"), "--trainer", "CoOp", "--seed", "1"]
    words += ["--config-file", str(ROOT / "configs/trainers/CoOp/glyph.yaml")]
    words += ["--dataset-config-file", str(ROOT / "configs/datasets/digits.yaml")]
    options = ["OPTIM.MAX_EPOCH", "1", "DATASET.NUM_SHOTS", "2", "DATASET.SUBSAMPLE_CLASSES"]
    (tmp_path / "data").mkdir()
    made = ["--no-train", "--output-dir", str(tmp_path / "other"), *options, "base"]  # images, split, few-shot list
    assert train.main([*words, *made]) == 0
    assert train.main([*words, "--output-dir", str(training), *options, "base"]) == 0
    words += ["--eval-only", "--model-dir", str(training), "--output-dir", str(test)]
    assert train.main([*words, *options, "new"]) == 0
    assert capsys.readouterr().out.count("Finished before: ") == 2


def test_a_test_in_the_place_of_a_trainings_result_is_that_test(experiment, out, capsys):
    training, test = (job_of(experiment, "CoOp", tests) for tests in (False, True))
    shutil.copy(out / test.folder / "result.json", out / training.folder)
    stands = state.of(training, out)
    assert (stands.name, stands.why) == (state.STALE, f"replaced by a test of /old/out/{training.folder} epoch last")
    assert push.main([str(out / training.folder), "me/coop", "--dry-run"]) == 0
    assert "There are none on record." in capsys.readouterr().out
    assert open_trained(out / training.folder).model.classes.names == ("zero", "one", "two", "three", "four")


def test_a_zero_shot_result_in_the_place_of_a_trainings_does_not_answer_for_it(experiment, out):
    training, zero_shot = job_of(experiment, "CoOp", False), job_of(experiment, "CLIP", True)
    shutil.copy(out / zero_shot.folder / "result.json", out / training.folder)
    with pytest.warns(UserWarning, match="holds a training, and the result of ZeroshotCLIP in the place of its own"):
        trained = open_trained(out / training.folder)
    assert type(trained.model.method).__name__ == "CoOp"


KILLED = {"CrossModal": "l2_adaptative", "ZS": "none"}  # by INIT, their CONSTRAINT


def losses(path):
    with path.open() as file:
        return [float(row["loss"]) for row in csv.DictReader(file)]


@pytest.mark.slow
@pytest.mark.parametrize("init", KILLED)
def test_its_killed_training_of_a_head_goes_on_exactly(init, tmp_path, capsys):
    out = Path(shutil.copytree(OLD / "killed" / init, tmp_path / "out"))
    (tmp_path / "data").mkdir()
    words = ["--root", str(tmp_path / "data"), "--trainer", "ADAPTER", "--seed", "1", "--output-dir", str(out)]
    words += ["--config-file", str(ROOT / "configs/trainers/ADAPTER/glyph.yaml")]
    words += ["--dataset-config-file", str(ROOT / "configs/datasets/digits.yaml")]
    words += ["DATASET.NUM_SHOTS", "2", "DATASET.SUBSAMPLE_CLASSES", "base", "OPTIM.MAX_EPOCH", "4", "OPTIM.LR", "1"]
    words += ["OPTIM.WARMUP_EPOCH", "0", "TRAINER.ADAPTER.VIEWS", "2", "TRAINER.ADAPTER.SEARCH_HP", "False"]
    words += ["TRAINER.ADAPTER.INIT", init, "TRAINER.ADAPTER.CONSTRAINT", KILLED[init]]
    assert train.main(words) == 0
    assert "resuming after epoch 2" in capsys.readouterr().out
    assert losses(out / "steps.csv") == pytest.approx(losses(out / "steps_whole.csv"), rel=1e-5)
    assert not (out / "training_state.pth.tar").exists()
