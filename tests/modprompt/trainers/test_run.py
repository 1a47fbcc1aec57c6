"""Runs from their settings; whole programs are in tests/test_train.py."""

import json
import sys

import pytest
from PIL import Image

from modprompt.cli import flags
from modprompt.errors import UserError
from modprompt.io import files
from modprompt.io.files import open_regular
from modprompt.io.settings import Settings
from modprompt.programs import close_log, one_line
from modprompt.trainers import config, mode, run
from tests.conftest import process_kept


@process_kept()
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


def test_config_files_are_opened_once_in_a_run(mpl_flags, mpl_options, small_config, monkeypatch):
    opened, plain = [], open_regular
    monkeypatch.setattr(files, "open_regular", lambda path: opened.append(str(path)) or plain(path))
    read = flags.settings_of(flags.parse_args([*mpl_flags, *mpl_options]))
    started(read, no_train=True)
    data = mpl_flags[mpl_flags.index("--dataset-config-file") + 1]
    assert (opened.count(str(small_config)), opened.count(data)) == (1, 1)


def test_a_model_is_tested_of_evaluations_alone():
    cfg = config.of_settings(Settings.read((), {"TRAINER.NAME": "MPL"}, ["DATASET.NAME", "Digits"]))
    assert mode.tested_by(cfg, run.Mode(model_dir="x")) == ""
    assert mode.tested_by(cfg, run.Mode(model_dir="x", eval_only=True)) == "x"
    assert mode.tested_by(cfg.changed({"TRAINER.NAME": "ZeroshotCLIP"}), run.Mode(False, True, "x")) == ""


def test_wrong_settings_touch_nothing(tmp_path):
    with pytest.raises(UserError, match="--trainer: the name is missing"):
        run.run(Settings.read(flags={"OUTPUT_DIR": str(tmp_path / "out")}), run.Mode())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "more",
    [
        pytest.param(["DATALOADER.NUM_WORKERS", "1"], marks=pytest.mark.slow),
        ["DATALOADER.KEEP_IMAGES", "True"],
        ["TEST.IMAGE_CACHE", "kept", "TRAINER.NAME", "ZeroshotCLIP"],
        ["DATASET.NAME", "ImageFolder"],
    ],
)
def test_pillows_bound_of_images_is_one_line(more, settings, eurosat_root, monkeypatch, tmp_path):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 500)
    monkeypatch.chdir(tmp_path)
    if "ImageFolder" in more:
        more = [*more, "DATASET.ROOT", str(eurosat_root / "eurosat" / "2750")]
    with pytest.raises((UserError, RuntimeError)) as raised:
        started(settings(*more))
    assert "1024 pixels) exceeds limit of 1000 pixels" in one_line(raised.value)
    assert not (tmp_path / "out" / "result.json").exists()
