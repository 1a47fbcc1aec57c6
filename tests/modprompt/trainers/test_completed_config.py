"""The two doors at which a run's configuration is made; what they decide is in tests of whole runs, too."""

from pathlib import Path

import pytest
from dassl.config import get_cfg_default
from dassl.engine import build_trainer

from modprompt import LightRA
from modprompt.compat.defaults import require_possible
from modprompt.errors import UserError
from modprompt.hosts.settings import of_program
from modprompt.io import folder
from modprompt.io.descriptions import read_sentences
from modprompt.io.settings import Settings
from modprompt.trainers import run  # noqa: F401 - registers trainers and readers
from modprompt.trainers.config import RunConfig, of_settings
from tests.conftest import ROOT
from tests.methods import PHRASES

GIVEN = Settings.read((), {"TRAINER.NAME": "MPL"}, ["DATASET.NAME", "Digits"])


def test_another_value_makes_another_configuration():
    one = of_settings(GIVEN)
    other = one.changed({"OPTIM.LR": 0.5, "SEED": 3})
    assert (one.OPTIM.LR, one.SEED, other.OPTIM.LR, other.SEED) == (0.0003, -1, 0.5, 3)
    assert one.changed({}) is one
    for node in (one, other.OPTIM):
        with pytest.raises(AttributeError, match="immutable"):
            node.SEED = 5


def test_a_programs_own_configuration_stays_what_it_is():
    theirs = get_cfg_default()
    theirs.TRAINER.NAME, theirs.MODEL.BACKBONE.NAME, theirs.OPTIM.MAX_EPOCH = "MPL", "glyph-clip", 7
    del theirs.TEST["ONLY"], theirs["ACTIVE"]
    before = theirs.clone()
    mine = of_program(theirs)
    assert theirs == before
    assert not theirs.is_frozen()
    assert (mine.OPTIM.MAX_EPOCH, mine.TEST.ONLY, mine.ACTIVE.ROUNDS) == (7, False, 0)
    assert mine.is_frozen()
    assert mine.INPUT.SIZE == (32, 32)  # of these weights


def test_values_of_a_programs_configuration_are_its_own_to_choose():
    theirs = get_cfg_default()
    theirs.SEED, theirs.OPTIM.MAX_EPOCH, theirs.INPUT.GB_K = None, 0, 4
    mine = RunConfig.of(theirs)
    assert (mine.SEED, mine.OPTIM.MAX_EPOCH, mine.INPUT.GB_K) == (None, 0, 4)
    with pytest.raises(UserError) as raised:
        require_possible(theirs)
    assert str(raised.value) == (
        "SEED must be a whole number below 2**32 (a negative number sets no seed), got None. INPUT.GB_K must be an odd number, got 4. "
        "OPTIM.MAX_EPOCH must be at least 1 and at most 1000000, got 0."
    )


def test_what_a_program_changes_after_its_trainer_was_built_is_said(tmp_path, capsys):
    theirs = get_cfg_default()
    theirs.merge_from_file(str(ROOT / "configs" / "datasets" / "digits.yaml"))
    theirs.TRAINER.NAME, theirs.MODEL.BACKBONE.NAME, theirs.OUTPUT_DIR = "MPL", "glyph-clip", str(tmp_path / "out")
    theirs.DATASET.ROOT, theirs.DATASET.NUM_SHOTS, theirs.TEST.NO_TEST = str(tmp_path), 1, True
    theirs.INPUT.TRANSFORMS = ["normalize"]
    theirs.OPTIM.MAX_EPOCH, theirs.TRAINER.MPL.PROMPT_DEPTH, theirs.DATALOADER.NUM_WORKERS = 1, 3, 0
    with folder.hold(theirs.OUTPUT_DIR):
        trainer = build_trainer(theirs)
        theirs.OPTIM.MAX_EPOCH = 77
        trainer.train()
    assert (
        "note: the program changed a setting after the trainer was built, which has no effect: OPTIM.MAX_EPOCH 1 -> 77"
        in capsys.readouterr().out
    )
    assert trainer.epoch == 0


def test_what_a_method_decides_goes_under_the_command_line_of_a_programs_own(monkeypatch):
    from modprompt import MMRL

    theirs = get_cfg_default()
    theirs.TRAINER.NAME, theirs.MODEL.BACKBONE.NAME, theirs.DATASET.NAME = "MMRL", "ViT-B/16", "OxfordPets"
    theirs.TRAINER.MMRL.PER_DATASET, theirs.TRAINER.MMRL.REG_WEIGHT = "published", 0.9
    assert of_program(theirs, MMRL).TRAINER.MMRL.REG_WEIGHT == 0.2  # the repository's
    monkeypatch.setattr("sys.argv", ["train.py", "--trainer", "MMRL", "TRAINER.MMRL.REG_WEIGHT", "0.9"])
    assert of_program(theirs, MMRL).TRAINER.MMRL.REG_WEIGHT == 0.9


def test_a_programs_own_test_takes_the_text_of_the_checkpoint(clip_model, tmp_path, monkeypatch, capsys):
    model = LightRA(template="a drawing of {}:", mean="unit", sentences=PHRASES, vision_depth=2, text_depth=2)
    (tmp_path / "ResidualAttention").mkdir()
    file = tmp_path / "ResidualAttention/model.pth.tar-1"
    model.on(clip_model, ["river", "Forest"], dataset="EuroSAT").save(file)
    monkeypatch.setattr("sys.argv", ["train.py", "--eval-only", "--model-dir", str(tmp_path)])
    theirs = get_cfg_default()
    theirs.TRAINER.NAME, theirs.MODEL.BACKBONE.NAME, theirs.DATASET.NAME = "LightRA", "ViT-B/16", "EuroSAT"
    node = of_program(theirs, LightRA).TRAINER.LightRA
    assert ["a drawing of {}:", "unit", str(tmp_path)] == [node.TEMPLATE, node.MEAN, node.SENTENCES]
    assert f"TRAINER.LightRA.MEAN unit, TRAINER.LightRA.SENTENCES {tmp_path}" in capsys.readouterr().out
    assert read_sentences(node.SENTENCES, "EuroSAT", Path()).of(["river"]) == [("a winding band",)]
    theirs.DATASET.NAME = "OxfordPets"  # which has other classes
    assert of_program(theirs, LightRA).TRAINER.LightRA.SENTENCES == ""


def test_a_literal_scale_is_that_of_the_clip_it_is_for(capsys):
    """A config's, which was written for OpenAI's CLIPs; on the command line it stays."""
    file = str(ROOT / "configs/trainers/MMRL/vit_b16.yaml")

    def scale(*options):
        given = Settings.read((file,), {"TRAINER.NAME": "MMRL"}, ["DATASET.NAME", "Digits", *options])
        return of_settings(given).TRAINER.MMRL.LITERAL_SCALE

    assert scale() == 100
    assert capsys.readouterr().out == ""
    assert scale("MODEL.BACKBONE.NAME", "glyph-clip") == 0
    assert "TRAINER.MMRL.LITERAL_SCALE 0.0" in capsys.readouterr().out
    assert scale("MODEL.BACKBONE.NAME", "ViT-B-16/openai") == 100
    assert scale("MODEL.BACKBONE.NAME", "ViT-B-16/laion2b_s34b_b88k") == 0
    assert scale("MODEL.BACKBONE.NAME", "glyph-clip", "TRAINER.MMRL.LITERAL_SCALE", "100") == 100


def test_zero_shots_are_refused_but_for_promptkd_and_codebases_readers():
    def shots(trainer, *more):
        options = ["DATASET.NAME", "Digits", "DATASET.NUM_SHOTS", "0", *more]
        return of_settings(Settings.read((), {"TRAINER.NAME": trainer}, options)).DATASET.NUM_SHOTS

    for trainer in ("MPL", "TipAdapter", "ZeroshotCLIP"):
        with pytest.raises(
            UserError, match=r"^command line: DATASET.NUM_SHOTS is 0, .* Set DATASET.NUM_SHOTS -1 to use all"
        ):
            shots(trainer)
    assert shots("PromptKD") == 0
    assert shots("MPL", "DATASET.READER", "digits.py 0123") == 0
