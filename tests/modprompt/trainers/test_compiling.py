"""MODEL.COMPILE in a run: what result.json says ran."""

import json

import pytest
import torch

from modprompt.cli import train
from modprompt.trainers.prompt_trainer import PromptTrainer
from tests.methods import METHODS
from tests.test_runs import to


def learned(folder, epoch):
    (path,) = folder.glob(f"*/model.pth.tar-{epoch}")
    return torch.load(path, weights_only=True)["state_dict"]


@pytest.mark.parametrize("trainer", [METHODS["mpl"], "ZeroshotCLIP"], ids=["prompts", "nothing to learn"])
def test_graph_is_one_line_that_names_what_to_write(trainer, command, capsys):
    assert train.main(command(trainer, "MODEL.COMPILE", "graph")) == 2
    said = capsys.readouterr().err.splitlines()
    assert said == ["error: MODEL.COMPILE must be default, reduce-overhead or empty, got 'graph'."]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("trainer", "ran", "why"),
    [
        pytest.param(METHODS["coop_end"], "default", "", marks=pytest.mark.slow),
        ("ZeroshotCLIP", "eager", "this trainer does not support MODEL.COMPILE"),
    ],
    ids=["prompts", "nothing to learn"],
)
def test_compiled_encoders_are_named(trainer, ran, why, command, tmp_path, traced):
    assert train.main(command(trainer, "MODEL.COMPILE", "default", "OPTIM.MAX_EPOCH", 1)) == 0
    result = json.loads((tmp_path / "out" / "result.json").read_text())
    assert result["compile"] == {"asked": "default", "ran": ran, "why": why}


@pytest.mark.slow
def test_another_optimiser_of_a_second_stage_takes_the_steps(command, tmp_path, monkeypatch):
    prepare = PromptTrainer.before_epoch

    def with_a_second_stage(trainer):
        prepare(trainer)
        if trainer.epoch == 1:
            trainer.optim = torch.optim.SGD(trainer.model.prompt_learner.parameters(), lr=0.0)

    monkeypatch.setattr(PromptTrainer, "before_epoch", with_a_second_stage)
    words = [*command(METHODS["mpl"]), "TRAIN.CHECKPOINT_FREQ", "1"]
    assert train.main(to(words, tmp_path)) == 0
    first = learned(tmp_path, epoch=1)
    assert all(torch.equal(value, first[name]) for name, value in learned(tmp_path, epoch=2).items())
