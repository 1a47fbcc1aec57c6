"""A plain loop in Python has the trainer's very numbers, for every method."""

import pytest
import torch

import modprompt
from modprompt.cli import train
from modprompt.methods import together
from modprompt.methods.table import METHODS as TABLE
from modprompt.methods.table import row_of
from modprompt.trainers.config_nodes import method_of
from modprompt.trainers.prompt_trainer import PromptTrainer
from tests.conftest import SAID
from tests.methods import METHODS, some_slow
from tests.modprompt.trainers.test_methods import LOSSES

SELF_REGULARISED = METHODS["mpl"]._replace(
    options={
        **METHODS["mpl"].options,
        "TEXT_LOSS_WEIGHT": 25,
        "IMAGE_LOSS_WEIGHT": 10,
        "LOGITS_LOSS_WEIGHT": 0.5,
        "GPA_MEAN": 1.5,
        "GPA_STD": 1,
    }
)
ROWS = {**METHODS, "mpl_self_regularised": SELF_REGULARISED}


class Seen:
    """A training run as it went: the generator's state before CLIP was loaded, batches and losses, the trainer."""

    def __init__(self, patch):
        self.batches, self.trainer, self.draws, self.masks, self.rates = [], None, None, [], []
        build, step = PromptTrainer.build_model, PromptTrainer.forward_backward

        def building(trainer):
            self.trainer, self.draws = trainer, torch.get_rng_state()
            build(trainer)

        def stepping(trainer, batch):
            self.masks.append(torch.get_rng_state())
            self.rates.append(trainer.optim.param_groups[0]["lr"])
            summary = step(trainer, batch)
            self.batches.append(
                (batch["img"].clone(), batch["label"].clone(), next(summary[key] for key in LOSSES if key in summary))
            )
            return summary

        patch.setattr(PromptTrainer, "build_model", building)
        patch.setattr(PromptTrainer, "forward_backward", stepping)


def rates(epochs):
    """The learning rate of each epoch of conftest's config: one of warm-up, then the cosine's."""
    return [1e-5 if epoch == 0 else 0.0035 for epoch in range(epochs)]


@pytest.mark.cover(3)
@pytest.mark.parametrize("prec", ["fp32", "bf16"])
@pytest.mark.parametrize("row", some_slow(ROWS))
def test_plain_loop_has_the_trainers_losses_to_the_last_digit(row, prec, command, clip_file, monkeypatch, capsys):
    seen = Seen(monkeypatch)
    words = command(ROWS[row], f"TRAINER.{ROWS[row].node}.PREC", prec)
    assert train.main(words) == 0
    names = seen.trainer.dm.dataset.classnames
    method = together.joined(
        method_of(row_of(ROWS[row].trainer).method, seen.trainer.run.node), seen.trainer.cfg.TRAINER
    )
    capsys.readouterr()

    torch.set_rng_state(seen.draws)
    clip_model, _ = modprompt.load_clip(clip_file, device="cpu", **SAID)
    model = method.on(clip_model, names, dataset="EuroSAT", epochs=2)
    if prec == "bf16":
        model.to(torch.bfloat16)
    optimiser = torch.optim.SGD(model.prompt_learner.parameters(), lr=1, momentum=0.9, weight_decay=5e-4)
    per_epoch = len(seen.batches) // 2
    for number, (images, labels, expected) in enumerate(seen.batches):
        optimiser.param_groups[0]["lr"] = seen.rates[number] if method.training.steps else rates(2)[number // per_epoch]
        if method.training.draws_masks:
            torch.set_rng_state(seen.masks[number])
        loss = model.loss(images, labels)
        assert loss.item() == expected, number
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        if (number + 1) % per_epoch == 0:
            assert model.end_epoch() == (number + 1 == len(seen.batches) and method.training.averaging is not None)
    assert capsys.readouterr().out == ""  # a library does not print
    for (name, mine), theirs in zip(
        model.prompt_learner.named_parameters(), seen.trainer.model.prompt_learner.parameters()
    ):
        assert torch.equal(mine, theirs), name
    images = seen.batches[0][0]
    with torch.no_grad():
        assert torch.equal(model.eval()(images), seen.trainer.model.eval()(images))


@pytest.mark.cover(1)
@pytest.mark.parametrize("row", [row for row in TABLE if row.kind == "zero-shot"], ids=lambda row: row.name)
def test_zero_shot_has_the_trainers_logits(row, command, clip_file, monkeypatch):
    seen, build = [], PromptTrainer.build_model
    monkeypatch.setattr(PromptTrainer, "build_model", lambda self: seen.append(self) or build(self))
    assert train.main(["--eval-only", *command(row.name)]) == 0
    clip_model, _ = modprompt.load_clip(clip_file, device="cpu", **SAID)
    model = row.method().on(clip_model, seen[0].dm.dataset.classnames, dataset="EuroSAT")
    images = torch.randn(3, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(model.eval()(images), seen[0].model(images))
    assert model.count_parameters()["trainable"] == 0
