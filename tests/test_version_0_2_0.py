"""What version 0.2.0 left stays what it was: results finished, checkpoints readable, a test in a training's place a test.

The tree beside this file was made by `python -m experiments.run experiment.yaml --out /old/out --data /old/data` with
that version (the tests of all classes by the last code that called TEST.BASE_NEW TEST.HALVES, and PROMPTS_FROM BEHIND),
without logs and pictures; trainings in `killed/` by it, too, cut off behind two of four epochs, beside the
steps of the same that were not.
"""

import csv
import shutil
import warnings
from pathlib import Path

import pytest

from modprompt.cli import push, train
from modprompt.experiments.plan import spec
from modprompt.experiments.plan.inputs import Inputs
from modprompt.experiments.plan.protocols import jobs
from modprompt.experiments.reporting.results import of_experiment
from modprompt.experiments.running import state
from modprompt.io import result as results
from modprompt.use.trained import open_trained
from tests.conftest import ROOT

OLD = Path(__file__).parent / "version_0_2_0"


@pytest.fixture(scope="module")
def experiment():
    with pytest.warns(UserWarning, match="methods: Tip on CoOp: behind is prompts_from now"):
        return spec.read(OLD / "experiment.yaml")


@pytest.fixture
def out(tmp_path):
    return Path(shutil.copytree(OLD / "out", tmp_path / "out"))


def job_of(experiment, label, tests, kind=""):
    found = (job for job in jobs(experiment) if job.method.label == label and job.tests is tests)
    return next(job for job in found if kind in job.folder)


def test_its_experiment_is_finished_wherever_it_lies(experiment, out):
    stands = state.of_all(jobs(experiment), out, Inputs(out, None))
    assert [(job.title, one.name, one.why) for job, one in stands if one.name != state.FINISHED] == []
    assert len(stands) == 12


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


@pytest.mark.parametrize("names", [("TEST.HALVES", "BEHIND"), ("TEST.BASE_NEW", "PROMPTS_FROM")])
def test_its_test_of_a_head_on_prompts_is_not_run_again_by_either_name(names, experiment, out, tmp_path, capsys):
    prompts = out / job_of(experiment, "CoOp", tests=False).folder
    training, test = (
        out / job_of(experiment, "Tip on CoOp", one, "all" if one else "").folder for one in (False, True)
    )
    words = ["--once", "--root", str(tmp_path / "data"), "--trainer", "TipAdapter", "--seed", "1"]
    words += ["--config-file", str(ROOT / "configs/trainers/TipAdapter/glyph.yaml")]
    words += ["--dataset-config-file", str(ROOT / "configs/datasets/digits.yaml")]
    options = ["DATASET.NUM_SHOTS", "2", f"TRAINER.TIPADAPTER.{names[1]}", str(prompts), "DATASET.SUBSAMPLE_CLASSES"]
    tested = ["--eval-only", "--model-dir", str(training), "--output-dir", str(test), *options, "all", names[0], "True"]
    (tmp_path / "data").mkdir()
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        assert train.main([*words, "--no-train", "--output-dir", str(tmp_path / "other"), *options, "base"]) == 0
        assert train.main([*words, "--output-dir", str(training), *options, "base"]) == 0
        assert train.main([*words, *tested]) == 0
    said = capsys.readouterr()
    assert said.out.count("Finished before: ") == 2
    assert ("command line: TEST.HALVES is TEST.BASE_NEW now\n" in said.err) == (names[0] == "TEST.HALVES")


def test_its_head_on_prompts_is_tested_and_reported_anew(experiment, out, tmp_path, capsys):
    training, test = (job_of(experiment, "Tip on CoOp", one, "all" if one else "").folder for one in (False, True))
    before = results.read(out / test).result
    (out / test / "result.json").unlink()
    (tmp_path / "data").mkdir()
    words = ["--root", str(tmp_path / "data"), "--trainer", "TipAdapter", "--seed", "1", "--eval-only"]
    words += ["--config-file", str(ROOT / "configs/trainers/TipAdapter/glyph.yaml")]
    words += ["--dataset-config-file", str(ROOT / "configs/datasets/digits.yaml"), "--output-dir", str(out / test)]
    words += ["--model-dir", str(out / training), "DATASET.NUM_SHOTS", "2", "DATASET.SUBSAMPLE_CLASSES", "all"]
    words += [
        "TEST.BASE_NEW",
        "True",
        "TRAINER.TIPADAPTER.PROMPTS_FROM",
        str(out / job_of(experiment, "CoOp", False).folder),
    ]
    assert train.main(words) == 0
    again = results.read(out / test).result
    assert again["halves"] == before["halves"]
    assert (before["settings"]["TEST.BASE_NEW"], set(before["settings"]) - set(again["settings"])) == ("True", set())
    found = of_experiment(experiment, state.of_all(jobs(experiment), out, Inputs(out, None)), out)
    line = next(line for line in found.lines if line.label == "Tip on CoOp")
    assert line.group == "prompts + head"
    assert found.outcomes(line, "digits", "new (all)")[1].accuracy_pct == before["halves"]["new"]["accuracy_pct"]


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
    with pytest.warns(UserWarning, match="holds a training, but the result of ZeroshotCLIP in place of its own"):
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
