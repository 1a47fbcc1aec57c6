import json
import subprocess
import sys

import pytest

import modprompt
from modprompt import programs
from modprompt.cli import flags, train
from modprompt.engine import precision
from modprompt.errors import UserError
from modprompt.io.settings import FLAGS
from modprompt.trainers import config
from tests.conftest import ROOT

MODULE = """
from dassl.data.datasets import DATASET_REGISTRY

from modprompt.data.readers.digits import Digits
from modprompt.trainers.mpl import MPL
from modprompt.trainers.registration import register_trainer


@register_trainer
class Mine(MPL):
    '''MPL by another name.'''


@DATASET_REGISTRY.register()
class MyDigits(Digits):
    '''Digits by another name.'''
"""


def read(*words):
    return flags.settings_of(flags.parse_args([str(word) for word in words]))


def test_every_flag_of_a_setting_gives_it_and_others_give_none():
    values = {"--seed": "3", "--transforms": "normalize"}
    found = {flag: read(flag, values.get(flag, "x")) for flag in FLAGS.values()}
    given = {flag: {key: one.source for key, one in settings.items()} for flag, settings in found.items()}
    assert given == {flag: {"SEED": "flag --seed", key: f"flag {flag}"} for key, flag in FLAGS.items()}
    assert list(read("--once", "--eval-only", "--no-train", "--model-dir", "x", "--load-epoch", 3)) == ["SEED"]


def test_order_of_files_is_data_set_then_method(tmp_path):
    for name in "ab":
        (tmp_path / f"{name}.yaml").write_text(f"OPTIM: {{NAME: {name}}}\n")
    settings = read("--config-file", tmp_path / "b.yaml", "--dataset-config-file", tmp_path / "a.yaml")
    assert settings["OPTIM.NAME"] == ("b", f"file {tmp_path / 'b.yaml'}")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["--epochs", "3"],
            "Unknown flag --epochs. Did you mean the setting OPTIM.MAX_EPOCH? Add OPTIM.MAX_EPOCH VALUE after all flags.",
        ),
        (
            ["--lr=0.1", "A", "b"],
            "Unknown flag --lr=0.1. Did you mean the setting OPTIM.LR? Add OPTIM.LR VALUE after all flags.",
        ),
        (["--config_file", "x"], "Unknown flag --config_file. Did you mean --config-file?"),
        (["--model", "ViT-B/16"], "Unknown flag --model. Did you mean --backbone?"),  # not --model-dir
        (["--quite-other"], "Unknown flag --quite-other. Use --help to list all flags."),
        (["--seed", "one"], "argument --seed: invalid int value: 'one'. Use --help to list all flags."),
    ],
)
def test_wrong_flag_is_one_line_that_says_what_may_be_meant(words, said, capsys):
    assert train.main(["--trainer", "MPL", *words]) == 2
    assert capsys.readouterr().err == f"error: {said}\n"


def test_help_has_the_essentials_first(capsys):
    with pytest.raises(SystemExit, match="0"):
        train.main(["--help"])
    said = capsys.readouterr().out
    places = [said.index(f"\n  --{flag} ") for flag in ("trainer", "root", "eval-only", "import")]
    assert places == sorted(places)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The current one, in which modules are looked for."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    return tmp_path


@pytest.mark.parametrize(("name", "why"), [("not_there", "not_there"), ("wants_another", "nobody_has_this")])
def test_module_that_cannot_be_imported_is_one_line(name, why, folder):
    (folder / "wants_another.py").write_text("import nobody_has_this")
    with pytest.raises(UserError) as raised:
        programs.import_modules([name])
    assert str(raised.value) == (
        f"--import {name}: the module cannot be imported (No module named '{why}'). Python searched {folder} "
        "first, then the installed packages."
    )


def test_fault_in_a_module_is_not_hidden(folder):
    (folder / "is_broken.py").write_text("1 / 0\n")
    with pytest.raises(ZeroDivisionError):
        programs.import_modules(["is_broken"])


@pytest.mark.slow
def test_module_of_the_current_folder_registers_trainer_and_reader(tmp_path):
    (tmp_path / "mine.py").write_text(MODULE)
    words = ["--trainer", "Mine", "--seed", 1, "--output-dir", "out", "--root", tmp_path / "data"]
    words += ["--config-file", ROOT / "configs/trainers/MPL/glyph.yaml"]
    options = ["DATASET.NAME", "MyDigits", "DATASET.NUM_SHOTS", 1, "OPTIM.MAX_EPOCH", 1]
    program = [sys.executable, ROOT / "train.py", "--import", "mine", *words, *options]
    done = subprocess.run([str(word) for word in program], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "out" / "result.json").read_text())
    assert (result["trainer"], result["dataset"]) == ("Mine", "MyDigits")


def test_names_that_nobody_has_registered_are_one_line(tmp_path, capsys):
    words = ["--trainer", "Mine", "--root", str(tmp_path), "--output-dir", str(tmp_path / "out"), "--seed", "1"]
    assert train.main([*words, "DATASET.NAME", "MyDigits", "MODEL.BACKBONE.NAME", "glyph-clip"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: --trainer: unknown name 'Mine'")
    assert " DATASET.NAME: unknown name 'MyDigits'" in line
    assert " To use a custom trainer, give its module with --import." in line


def test_help_lists_the_settings_of_the_trainer_that_is_named(capsys):
    with pytest.raises(SystemExit):
        flags.parse_args(["--trainer", "MPL", "--help"])
    out = capsys.readouterr().out
    assert (
        "TRAINER.MPL.N_RM_OP             1               the number of prompt tokens removed before each deep layer of the image encoder"
        in out
    )
    (prec,) = [line for line in out.splitlines() if "TRAINER.MPL.PREC" in line]
    assert f"{config.node_of(modprompt.MPL).PREC} (default)" in prec
    assert all(choice in prec for choice in precision.CHOICES)


def test_help_shows_the_settings_that_are_changed_first_above_a_trainers_own(capsys):
    for trainer in ("CoOp", "LPPlusPlus"):
        with pytest.raises(SystemExit):
            flags.parse_args(["--trainer", trainer, "--help"])
    out, _, other = capsys.readouterr().out.partition("settings of LPPlusPlus")
    files = "for ViT-B/16: configs/trainers/CoOp/vit_b16_ctxv1.yaml, with TRAINER.COOP: CTX_INIT 'a photo of a'"
    values = "  OPTIM.MAX_EPOCH                 10              200  "
    places = [out.index(part) for part in ("for glyph-clip", values, files, "settings of CoOp, given as")]
    assert places == sorted(places)
    assert "  DATASET.NUM_SHOTS " in out
    assert out.count("  OPTIM.LR ") == 1  # LP++ does not read it
