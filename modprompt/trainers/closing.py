"""The last lines that a training run prints: its images, the accuracy of zero-shot CLIP, and the next command."""

import shlex
from collections.abc import Iterator
from typing import Any

import torch

from modprompt.data.reader_facts import reader_facts
from modprompt.trainers.baseline import zero_shot_model
from modprompt.trainers.prompt_trainer import PromptTrainer


def lines(trainer: Any, tested_pct: float | None, in_series: bool) -> Iterator[str]:
    """Return the last lines of the log of a training run.

    Args:
        trainer: the trainer after its training.
        tested_pct: the accuracy of the test in percent, or None if there was no test.
        in_series: whether the run belongs to an experiment, whose report contains zero-shot CLIP.
    """
    cfg, dataset = trainer.cfg, trainer.dm.dataset
    tested = (dataset.val if cfg.TEST.SPLIT == "val" else None) or dataset.test or ()
    test_paths = {image.impath for image in dataset.test or ()}  # where there are no validation images, `val` has these
    validation = sum(image.impath not in test_paths for image in dataset.val or ())
    number = len(tested) if tested_pct is not None and reader_facts(dataset).has_test else 0
    ours = isinstance(trainer, PromptTrainer)
    learned = 0 if ours and trainer.method.in_turn else len(dataset.train_x)  # the test's own images are its caches
    yield f"Images: {learned} for training, {validation or 'none'} for validation, {number} for the test"
    if not ours:
        return
    if tested_pct is not None and not in_series and zero_shot_costs_little(trainer):
        yield f"Accuracy on the test images: zero-shot CLIP {zero_shot_pct(trainer):.1f}%, this run {tested_pct:.1f}%"
    yield next_command(trainer)


def next_command(trainer: PromptTrainer) -> str:
    """Return a command that uses the trained model."""
    module = type(trainer.method).__module__
    own = [] if module.startswith("modprompt.") else ["--import", module]
    return f"Next: {shlex.join(['modprompt', 'predict', trainer.cfg.OUTPUT_DIR, 'IMAGE', *own])}"


def zero_shot_costs_little(trainer: PromptTrainer) -> bool:
    """Return True if the last test stored image features that are also those of CLIP without prompts."""
    features, model = trainer.tested_features, trainer.model
    others = model.prompts_images or model.reads or model.prompt_learner.frozen_text is not None
    return features is not None and not others and trainer.node.PREC in ("fp16", "fp32")  # else CLIP is rounded


@torch.no_grad()
def zero_shot_pct(trainer: PromptTrainer) -> float:
    """Return the accuracy of ZeroshotCLIP in percent on the image features of the last test."""
    features, model = trainer.tested_features, zero_shot_model(trainer, trainer.clip_model)
    assert features is not None
    labels, size = (
        [one.label for one in trainer.tested_loader.dataset.data_source],
        trainer.cfg.DATALOADER.TEST.BATCH_SIZE,
    )
    answers = [model.of_features(some.to(trainer.device)).logits.argmax(1).cpu() for some in features.split(size)]
    return 100 * (torch.cat(answers) == torch.tensor(labels)).float().mean().item()
