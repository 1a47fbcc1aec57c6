"""Results out of log files: those of any codebase of the family, and of crashed runs."""

import json
import re

import pytest

from modprompt.cli import train
from modprompt.experiments.reporting.logs import logs_of, read_log, read_run
from tests.modprompt.experiments.fakes import write_log


@pytest.mark.parametrize(
    "text", ["* accuracy: 300.0%\n", "* total: 1.0.0\n", "* total: 5\n* correct: 9\n* accuracy: 1%\n"]
)
def test_damaged_log_is_lacking(tmp_path, text):
    (tmp_path / "log.txt").write_text("=> result\n" + text)
    assert "damaged log" in read_log(tmp_path / "log.txt").reason


def test_accuracy_is_exact_where_the_log_rounds_it(tmp_path):
    write_log(tmp_path, 1999, total=3000)
    assert read_log(tmp_path / "log.txt").accuracy_pct == pytest.approx(100 * 1999 / 3000)


def test_log_of_the_reference_and_validation_results(tmp_path):
    text = "epoch [1/2] x\n=> result\n* total: 10\n* correct: 1\n* accuracy: 10.0%\n"  # validation, before the end
    path = tmp_path / "log.txt"
    path.write_text(text)
    assert read_log(path).accuracy_pct is None
    path.write_text(text + "Finished training\n=> result\n* accuracy: 70.25%\n")
    assert read_log(path).accuracy_pct == 70.25


def test_log_of_a_crashed_run_is_unfinished_and_says_how_it_ended(tmp_path):
    (tmp_path / "log.txt").write_text("epoch [1/2] batch [1/4] loss 1.0\nRuntimeError: CUDA out of memory\n\n")
    assert read_run(tmp_path).reason == "unfinished (RuntimeError: CUDA out of memory)"
    (tmp_path / "log.txt").write_bytes(b"")
    assert read_run(tmp_path).reason == "unfinished (empty log)"


def test_newest_log_counts(tmp_path):
    write_log(tmp_path, 1000)
    newer = tmp_path / "log.txt-2030-01-01-00-00-00"
    newer.write_text("started")
    assert newest_log(tmp_path) == newer
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
