"""What a log says before the first step, and where Python's generator is behind it."""

import random

import pytest

from modprompt.cli import train
from modprompt.trainers.prompt_trainer import PromptTrainer
from tests.methods import METHODS


def built(words, monkeypatch):
    """A trainer in front of its training, and a generator where Python's was when its model was made."""
    generator, seen, build = random.Random(), [], PromptTrainer.build_model
    monkeypatch.setattr(PromptTrainer, "build_model", lambda self: generator.setstate(random.getstate()) or build(self))
    monkeypatch.setattr(PromptTrainer, "train", lambda self: seen.append((self, random.getstate())))
    assert train.main(words) == 0
    ((trainer, behind),) = seen
    return trainer, generator, behind


@pytest.mark.parametrize("classes", ["base", "all"])
def test_examples_of_mpl_are_drawn_as_its_reference_draws_them(classes, command, monkeypatch, capsys):
    trainer, generator, behind = built(command(METHODS["mpl"], "DATASET.SUBSAMPLE_CLASSES", classes), monkeypatch)
    prompts = trainer.model.prompt_learner.prompt_text.texts
    assert f"Example prompts: {generator.sample(prompts, len(prompts))}" in capsys.readouterr().out.splitlines()
    assert behind == generator.getstate()


def test_other_methods_draw_nothing_there(command, monkeypatch, capsys):
    _, generator, behind = built(command(METHODS["maple"]), monkeypatch)
    assert behind == generator.getstate()
    assert "Example prompts" not in capsys.readouterr().out
