"""A second stage of training that replaces the optimizer of the trainer."""

import pytest
import torch

from modprompt.cli import train
from modprompt.trainers.prompt_trainer import PromptTrainer
from tests.methods import METHODS
from tests.test_runs import to


def learned(folder, epoch):
    (path,) = folder.glob(f"*/model.pth.tar-{epoch}")
    return torch.load(path, weights_only=True)["state_dict"]


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
