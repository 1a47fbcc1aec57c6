"""A user's trainer as it was written for the version before works, by its old import paths."""

import importlib
import warnings

import pytest
import torch

from modprompt.cli import train
from modprompt.errors import UserError
from modprompt.trainers import own_style
from modprompt.trainers.regularised_trainer import RegularisedTrainer
from tests.registered import forget


@pytest.fixture(scope="module")
def said():
    """The old trainer, registered; gives what was said while it was imported."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        importlib.import_module("tests.old_trainer")
    yield [str(one.message) for one in caught if one.category is DeprecationWarning]
    forget("OldGrowing", "tests.old_trainer")


def test_every_old_path_is_warned_of(said):
    assert len(said) == 8
    assert all(text.endswith("the old name goes with the next version") for text in said)


def test_it_trains_goes_on_and_is_evaluated(said, command, tmp_path, capsys):
    words = command("OldGrowing", "TRAINER.OLD_GROWING.PROMPT_DEPTH", 3, "OPTIM.MAX_EPOCH", 2)
    assert train.main(words) == 0
    folder = tmp_path / "out" / "prompt_learner"
    saved = torch.load(folder / "model.pth.tar-2", weights_only=True)
    gates = saved["state_dict"]["prompt_learner.gates"]
    assert torch.all(gates[:3] != 0)
    assert saved["modprompt"]["method"]["name"] == "OldGrowing"
    assert saved["modprompt"]["method"]["config"]["PROMPT_DEPTH"] == 3
    capsys.readouterr()
    assert train.main(["--eval-only", "--model-dir", str(tmp_path / "out"), *words]) == 0
    assert "(epoch = 2)" in capsys.readouterr().out


def test_its_checks_name_its_node_and_its_checkpoint_its_settings(said, command, tmp_path, capsys):
    assert train.main(command("OldGrowing", "TRAINER.OLD_GROWING.PROMPT_DEPTH", 0)) == 2
    assert "error: TRAINER.OLD_GROWING.PROMPT_DEPTH must be at least 1" in capsys.readouterr().err
    assert train.main(command("OldGrowing", "OPTIM.MAX_EPOCH", 1, "TRAINER.OLD_GROWING.PROMPT_DEPTH", 3)) == 0
    other = command("OldGrowing", "OPTIM.MAX_EPOCH", 1, "TRAINER.OLD_GROWING.CTX_INIT", "a photo of the")
    other += ["TRAINER.OLD_GROWING.PROMPT_DEPTH", "3"]
    capsys.readouterr()
    assert train.main(["--eval-only", "--model-dir", str(tmp_path / "out"), *other]) == 2
    assert "TRAINER.OLD_GROWING.CTX_INIT is a photo of the here and a photo of a in the file" in capsys.readouterr().err


def test_only_a_regularised_trainer_reads_the_settings_of_self_regularisation(said):
    class Settings:
        method_class, regularises = None, False
        setting = {"TEXT_LOSS_WEIGHT": 2, "GPA_STD": 3}.get

    assert not own_style.of_trainer(Settings()).keeps_exact()
    Settings.regularises = RegularisedTrainer.regularises
    method = own_style.of_trainer(Settings())
    assert method.weights().text == 2.0
    assert method.averages()
    Settings.before_cast = lambda self, clip_model: None
    with pytest.raises(UserError, match="Settings has a before_cast, which nothing reads any more"):
        own_style.of_trainer(Settings())
