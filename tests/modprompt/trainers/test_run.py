"""Runs from their settings; whole programs are in tests/test_train.py."""

import json
import os
import sys

import pytest

from modprompt.cli import flags
from modprompt.errors import UserError
from modprompt.programs import close_log, left_as_found
from modprompt.runs.settings import Settings
from modprompt.trainers import run


@left_as_found()
def started(settings, **mode):
    console = sys.stdout
    try:
        run.run(settings, run.Mode(**mode))
    finally:
        close_log(console)


@pytest.fixture
def settings(mpl_flags, mpl_options):
    def of(*options):
        return flags.settings_of(flags.parse_args([*mpl_flags, *mpl_options, "OPTIM.MAX_EPOCH", "1", *options]))

    return of


def test_result_is_of_the_settings_that_were_read_though_a_file_is_edited(settings, small_config, tmp_path):
    read = settings()
    small_config.write_text("OPTIM: {LR: 9.0}\n")
    started(read)
    result = json.loads((tmp_path / "out" / "result.json").read_text())
    assert result["settings"] == read.texts()
    assert result["sources"] == read.sources()
    assert result["settings"]["OPTIM.LR"] == "0.0035"


def test_run_that_is_there_runs_once(settings, tmp_path, capsys):
    started(settings(), once=True)
    when = (tmp_path / "out" / "result.json").stat().st_mtime_ns
    capsys.readouterr()
    started(settings("TRAIN.PRINT_FREQ", "7"), once=True)
    assert "Finished before: " in capsys.readouterr().out
    assert (tmp_path / "out" / "result.json").stat().st_mtime_ns == when
    with pytest.raises(UserError, match="OPTIM.LR 0.0035 -> 0.1"):
        started(settings("OPTIM.LR", "0.1"), once=True)


def test_config_files_are_opened_once_in_a_run(mpl_flags, mpl_options, small_config, monkeypatch):
    opened, plain = [], os.open
    monkeypatch.setattr(os, "open", lambda path, *more: opened.append(str(path)) or plain(path, *more))
    read = flags.settings_of(flags.parse_args([*mpl_flags, *mpl_options]))
    started(read, no_train=True)
    data = mpl_flags[mpl_flags.index("--dataset-config-file") + 1]
    assert (opened.count(str(small_config)), opened.count(data)) == (1, 1)


def test_a_model_is_tested_of_evaluations_alone():
    assert run.Mode(model_dir="x").tested == ""
    assert run.Mode(model_dir="x", eval_only=True).tested == "x"


def test_wrong_settings_touch_nothing(tmp_path):
    with pytest.raises(UserError, match="--trainer: no name is given"):
        run.run(Settings.read(flags={"OUTPUT_DIR": str(tmp_path / "out")}), run.Mode())
    assert list(tmp_path.iterdir()) == []
