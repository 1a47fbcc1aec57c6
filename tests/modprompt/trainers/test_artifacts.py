"""What runs leave beside their results: the files of a test, steps, all settings."""

import csv

import pytest
import yaml

from modprompt.cli import train
from modprompt.errors import UserError
from modprompt.io import result as results
from modprompt.io import run_files
from modprompt.trainers import artifacts
from modprompt.trainers import result as trainer_result
from modprompt.trainers.prompt_trainer import PromptTrainer
from tests.methods import METHODS
from tests.test_runs import to
from tests.waiting import as_on_a_card


def result(folder):
    found = results.read(folder)
    assert found.why == ""
    return found.result


def test_a_training_leaves_its_steps_and_the_files_of_its_test(command, tmp_path, eurosat_root, capsys):
    out = tmp_path / "out"
    assert train.main(command(METHODS["coop_end"], "TRAIN.PRINT_FREQ", 3)) == 0
    found = result(out)
    parts = run_files.read_test(out, found)
    assert parts.confusion.sum() == found["images"] == 20
    assert parts.confusion.trace() == found["correct"]
    assert len(parts.wrong) == 20 - found["correct"] > 0
    assert all((eurosat_root / "eurosat" / "2750" / one.image).is_file() for one in parts.wrong)
    names = [parts.names[one.label].replace(" ", "") for one in parts.wrong]
    assert [name.lower()[:4] for name in names] == [one.image.lower()[:4] for one in parts.wrong]
    assert found["top5_pct"] == 100
    assert 0 < found["ece_pct"] < 100
    assert sorted(found["test_files"]) == sorted(path.name for path in (out / "test").iterdir())
    with (out / "test" / "classes.csv").open() as file:
        assert sum(int(row["correct"]) for row in csv.DictReader(file)) == found["correct"]
    columns = run_files.read_steps(out, found)
    assert list(columns) == ["epoch", "step", "loss", "acc", "lr"]
    assert columns["epoch"] == [1] * 5 + [2] * 5
    assert columns["step"] == list(range(1, 11))
    assert columns["lr"] == pytest.approx([1e-05] * 5 + [0.0035] * 5)
    printed = [line.split("loss ")[1].split()[0] for line in losses_of(capsys)]
    assert [f"{columns['loss'][at]:.4f}" for at in (2, 7)] == printed


def losses_of(capsys):
    return [line for line in capsys.readouterr().out.splitlines() if line.startswith("epoch [")]


def stopped(monkeypatch, epoch, step):
    """The run is interrupted in front of a step."""
    plain = PromptTrainer.forward_backward

    def forward_backward(self, batch):
        if (self.epoch, self.batch_idx) == (epoch, step):
            raise KeyboardInterrupt
        return plain(self, batch)

    monkeypatch.setattr(PromptTrainer, "forward_backward", forward_backward)


@pytest.mark.slow
@pytest.mark.parametrize("way", ["cpu", "card"])
def test_a_run_that_was_stopped_and_goes_on_has_each_step_once(way, command, tmp_path, monkeypatch):
    if way == "card":
        as_on_a_card(monkeypatch)
    words = command(METHODS["mpl"], "TRAIN.PRINT_FREQ", 2)
    assert train.main(to(words, tmp_path / "whole")) == 0
    with monkeypatch.context() as patch:
        stopped(patch, 1, 3)
        assert train.main(words) == 130
    steps = list(range(1, 8))  # of the second epoch those of its first line
    assert run_files.read_steps(tmp_path / "out")["step"] == steps
    assert train.main(to([*words, "RESUME", str(tmp_path / "out")], tmp_path / "elsewhere")) == 0
    assert train.main(words) == 0
    whole = (tmp_path / "whole" / "steps.csv").read_bytes()
    for name in ("out", "elsewhere"):
        assert (tmp_path / name / "steps.csv").read_bytes() == whole
        assert result(tmp_path / name)["steps_hash"] == result(tmp_path / "whole")["steps_hash"]
        assert result(tmp_path / name)["test_files"] == result(tmp_path / "whole")["test_files"]


@pytest.mark.slow
def test_a_trained_run_that_is_tested_again_keeps_its_steps(command, tmp_path):
    words = command(METHODS["coop_end"])
    assert train.main(words) == 0
    first = result(tmp_path / "out")
    (tmp_path / "out" / "test" / "mine.txt").write_text("mine")
    assert train.main(words) == 0
    again = result(tmp_path / "out")
    for key in ("steps_hash", "test_files"):
        assert again[key] == first[key]
    assert (tmp_path / "out" / "test" / "mine.txt").exists()
    words = [*words, "DATASET.SUBSAMPLE_CLASSES", "new"]
    where = words.index("--dataset-config-file")
    words[where:where] = ["--eval-only", "--model-dir", str(tmp_path / "out")]
    assert train.main(to(words, tmp_path / "new")) == 0
    tested = result(tmp_path / "new")
    assert "steps_hash" not in tested
    assert run_files.read_steps(tmp_path / "new") is None
    assert run_files.read_test(tmp_path / "new", tested).names != run_files.read_test(tmp_path / "out", again).names


@pytest.mark.slow
def test_files_of_a_test_that_was_killed_before_its_result_are_not_shown(command, tmp_path, monkeypatch):
    words = command("ZeroshotCLIP")
    assert train.main(words) == 0
    before = result(tmp_path / "out")
    other = [*words, "TEST.PER_CLASS_RESULT", "True", "DATASET.SUBSAMPLE_CLASSES", "new"]

    def killed(*words):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(trainer_result, "write_json", killed)
        assert train.main(other) == 130
    assert result(tmp_path / "out") == before
    with pytest.raises(UserError, match=r"test\.npz is damaged, or comes from a different test"):
        run_files.read_test(tmp_path / "out", before)
    assert train.main(words) == 0
    assert run_files.read_test(tmp_path / "out", result(tmp_path / "out")) is not None


def test_a_test_that_leaves_no_files_takes_those_of_the_one_before_away(command, tmp_path, monkeypatch, capsys):
    words = command("ZeroshotCLIP")
    assert train.main(words) == 0
    from dassl.evaluation import Classification

    plain = Classification.process
    monkeypatch.setattr(Classification, "process", lambda self, mo, gt: plain(self, mo, gt))
    monkeypatch.setattr("modprompt.trainers.test_predictions.predictions_fit", lambda *words: False)
    assert train.main(words) == 0
    assert list((tmp_path / "out" / "test").iterdir()) == []
    assert not {"test_files", "top5_pct", "ece_pct"} & set(result(tmp_path / "out"))
    assert (
        "Top-5 accuracy, calibration error and the folder test/ are not written because the test did not give one"
        in capsys.readouterr().out
    )


@pytest.mark.slow
def test_rounds_leave_what_their_last_has_left(command, tmp_path):
    words = command(METHODS["mpl"], "OPTIM.MAX_EPOCH", 1, "DATASET.NUM_SHOTS", -1, "ACTIVE.ROUNDS", 2)
    assert train.main([*words, "ACTIVE.METHOD", "random"]) == 0
    out, last = tmp_path / "out", tmp_path / "out" / "rounds" / "round_1"
    mine, theirs = result(out), result(last)
    for key in ("test_files", "steps_hash", "top5_pct", "ece_pct"):
        assert mine[key] == theirs[key]
    assert run_files.read_test(out, mine).wrong == run_files.read_test(last, theirs).wrong
    assert run_files.read_steps(out, mine) == run_files.read_steps(last, theirs)


def test_a_table_of_steps_that_is_damaged_has_no_hash(tmp_path, capsys):
    (tmp_path / "steps.csv").write_text("no table")
    assert artifacts.of_training(str(tmp_path)) == {"steps_hash": artifacts.sha256_of(tmp_path / "steps.csv")}
    (tmp_path / "steps.csv").write_text("no table\n")
    assert artifacts.of_training(str(tmp_path)) == {}
    assert capsys.readouterr().out.startswith("The entry steps_hash of result.json could not be written: ")


def test_all_settings_are_kept_from_the_start_and_the_log_begins_with_what_matters(command, tmp_path, monkeypatch):
    out, seen = tmp_path / "out", []
    plain = PromptTrainer.build_model
    monkeypatch.setattr(
        PromptTrainer, "build_model", lambda self: seen.append((out / "config.yaml").read_text()) or plain(self)
    )
    words = command(METHODS["coop_end"], "OPTIM.MAX_EPOCH", 1)
    assert train.main(words) == 0
    assert seen == [(out / "config.yaml").read_text()]
    kept = yaml.safe_load(seen[0])
    assert kept["OPTIM"]["MAX_EPOCH"] == 1
    assert kept["DATASET"]["NUM_SHOTS"] == 4
    assert "# PyTorch: " in seen[0]
    log = (out / "log.txt").read_text().splitlines()
    assert log[0] == "** CoOp on EuroSAT: 4 shots, base classes, seed 1 **"
    screen = log[: 1 + next(at for at, line in enumerate(log) if line.startswith("All settings"))]
    assert len(screen) <= 24
    assert any("  OPTIM.MAX_EPOCH 1 (option)" in line for line in screen)
    assert all(len(line) <= 160 for line in screen)


@pytest.mark.slow
def test_a_run_that_is_refused_leaves_the_settings_of_the_one_that_is_there(command, tmp_path, capsys):
    words = command(METHODS["coop_end"], "OPTIM.MAX_EPOCH", 1)
    assert train.main(words) == 0
    before = (tmp_path / "out" / "config.yaml").read_bytes()
    assert train.main([*words, "OPTIM.LR", "0.5"]) == 2
    assert (tmp_path / "out" / "config.yaml").read_bytes() == before
    log = max(tmp_path.glob("out/log.txt*"), key=lambda path: len(path.name))
    assert "contains a run with other settings" in log.read_text().splitlines()[-1]  # what is wrong comes last
    assert train.main([*words, "DATALOADER.TEST.BATCH_SIZE", "7"]) == 0
    assert yaml.safe_load((tmp_path / "out" / "config.yaml").read_text())["DATALOADER"]["TEST"]["BATCH_SIZE"] == 7


def test_a_fault_of_ours_is_the_last_in_the_log(command, tmp_path, monkeypatch):
    def broken(self):
        raise ZeroDivisionError("ours")

    monkeypatch.setattr(PromptTrainer, "build_model", broken)
    with pytest.raises(ZeroDivisionError):
        train.main(command(METHODS["coop_end"]))
    assert (tmp_path / "out" / "log.txt").read_text().splitlines()[-1] == "ZeroDivisionError: ours"
