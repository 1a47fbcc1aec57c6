"""Results out of log files: those of any codebase of the family, and of crashed runs."""

import json
import os
import re

import pytest

from modprompt.cli import train
from modprompt.experiments.reporting.logs import logs_of, read_run
from tests.modprompt.experiments.fakes import write_log


@pytest.mark.parametrize(
    "text", ["* accuracy: 300.0%\n", "* total: 1.0.0\n", "* total: 5\n* correct: 9\n* accuracy: 1%\n"]
)
def test_damaged_log_is_lacking(tmp_path, text):
    (tmp_path / "log.txt").write_text("=> result\n" + text)
    assert "damaged log" in read_run(tmp_path).reason


def test_accuracy_is_exact_where_the_log_rounds_it(tmp_path):
    write_log(tmp_path, 1999, total=3000)
    assert read_run(tmp_path).accuracy_pct == pytest.approx(100 * 1999 / 3000)


def test_log_of_the_reference_and_validation_results(tmp_path):
    text = "epoch [1/2] x\n=> result\n* total: 10\n* correct: 1\n* accuracy: 10.0%\n"  # validation, before the end
    path = tmp_path / "log.txt"
    path.write_text(text)
    assert read_run(tmp_path).accuracy_pct is None
    path.write_text(text + "Finished training\n=> result\n* accuracy: 70.25%\n")
    assert read_run(tmp_path) == (70.25, "", "", True, "")


RESULT = "=> result\n* total: 1,000\n* correct: {}\n* accuracy: {}%\n"
TEST = "Evaluate on the *test* set\n" + RESULT.format(800, 80.0)
TRAINING = "epoch [1/1] batch [1/1]\nFinish training\nEvaluate on the *test* set\n" + RESULT.format(900, 90.0)
HEAD = "***************\n** Arguments **\n***************\nmodel_dir: {}\n"


@pytest.mark.parametrize("line", ["Evaluate on the *val* set", "Do evaluation on val set"])
def test_what_was_measured_on_validation_images_is_no_test(line, tmp_path):
    (tmp_path / "log.txt").write_text(f"{line}\n{RESULT.format(990, 99.0)}")
    assert read_run(tmp_path)[:2] == (None, "measured on val images, not on test images")
    (tmp_path / "log.txt").write_text(f"{TEST}{line}\n{RESULT.format(990, 99.0)}")
    assert read_run(tmp_path)[:2] == (80.0, "")


@pytest.mark.parametrize("head", ["", HEAD.format("there")])
def test_the_log_of_a_training_behind_that_of_a_test_is_none_of_it(head, tmp_path):
    (tmp_path / "log.txt").write_text(f"{head}{TEST}{head}{TRAINING}")
    found = read_run(tmp_path, tests=True)
    assert (found.accuracy_pct, found.trained) == (80.0, False)
    assert found.doubt == "its logs also have other results: 90.00 (a training in log.txt)"
    (tmp_path / "log.txt").write_text(head + TRAINING)
    assert read_run(tmp_path).accuracy_pct == 90.0
    assert read_run(tmp_path, tests=True)[:2] == (None, "the log of a training, where that of a test should be")


def test_two_results_in_one_folder_are_both_said(tmp_path):
    (tmp_path / "log.txt").write_text(TEST)
    other = tmp_path / "log.txt-2024-01-01-00-00-00"
    other.write_text(TEST)
    assert read_run(tmp_path).doubt == ""
    other.write_text("=> result\n* accuracy: 60.0%\n")
    for last, number, beside in ((1.0, 60.0, "80.00 (log.txt)"), (3e9, 80.0, f"60.00 ({other.name})")):
        os.utime(tmp_path / "log.txt", (last, last))
        found = read_run(tmp_path)
        assert (found.accuracy_pct, found.doubt) == (number, f"its logs also have other results: {beside}")
    (tmp_path / "log.txt.bak").write_text("no log of a start")
    assert len(logs_of(tmp_path)) == 2


def test_the_tested_model_is_what_was_loaded_or_else_asked_for(tmp_path):
    (tmp_path / "log.txt").write_text(HEAD.format("output/a/seed1") + TEST)
    assert read_run(tmp_path).model == "output/a/seed1"
    loaded = 'Loading weights to prompt_learner from "output/b/seed1/model.pth.tar-5" (epoch = 5)\n'
    (tmp_path / "log.txt").write_text(HEAD.format("output/a/seed1") + loaded + TEST)
    assert read_run(tmp_path).model == "output/b/seed1/model.pth.tar-5"


def test_log_of_a_crashed_run_is_unfinished_and_says_how_it_ended(tmp_path):
    (tmp_path / "log.txt").write_text("epoch [1/2] batch [1/4] loss 1.0\nRuntimeError: CUDA out of memory\n\n")
    assert read_run(tmp_path).reason == "unfinished (RuntimeError: CUDA out of memory)"
    (tmp_path / "log.txt").write_bytes(b"")
    assert read_run(tmp_path).reason == "unfinished (empty log)"


def test_newest_log_counts(tmp_path):
    write_log(tmp_path, 1000)
    newer = tmp_path / "log.txt-2030-01-01-00-00-00"
    newer.write_text("started")
    assert logs_of(tmp_path)[-1] == newer
    assert read_run(tmp_path).reason.startswith("unfinished (started")


def test_folder_without_a_log_is_missing(tmp_path):
    assert read_run(tmp_path).reason == "missing (no log)"
    assert read_run(tmp_path / "none").reason == "missing"


def test_our_log_is_read_by_the_familys_parsers(mpl_flags, mpl_options, tmp_path):
    """Their rule: an accuracy counts in a line behind one that is the end signal (CoOp's, MaPLe's, --test-log)."""
    assert train.main([*mpl_flags, *mpl_options, "OPTIM.MAX_EPOCH", "1"]) == 0
    lines = [line.strip() for line in (tmp_path / "out" / "log.txt").read_text().splitlines()]
    result = json.loads((tmp_path / "out" / "result.json").read_text())
    for end_signal in ("Finish training", "Finished training", "=> result"):
        behind = lines[lines.index(end_signal) :]
        (found,) = [re.search(r"\* accuracy: ([\.\deE+-]+)%", line) for line in behind if "* accuracy" in line]
        assert float(found[1]) == pytest.approx(result["accuracy_pct"], abs=0.05)
