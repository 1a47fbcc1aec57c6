"""What a training of our programs says last: its images, zero-shot CLIP's accuracy beside its own, the next command."""

import shlex
from collections.abc import Iterator
from typing import Any

import torch

from modprompt.data.reader_facts import reader_facts
from modprompt.trainers.baseline import zero_shot_model
from modprompt.trainers.prompt_trainer import PromptTrainer


def lines(trainer: Any, tested_pct: float | None, in_series: bool) -> Iterator[str]:
    """The lines.

    Args:
        trainer: after its training.
        tested_pct: the accuracy of its test in percent; None if it has not tested.
        in_series: whether it is one of many runs, whose report has zero-shot CLIP.
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
    """The command to type next, which uses the run's model."""
    module = type(trainer.method).__module__
    own = [] if module.startswith("modprompt.") else ["--import", module]
    return f"Next: {shlex.join(['modprompt', 'predict', trainer.cfg.OUTPUT_DIR, 'IMAGE', *own])}"


def zero_shot_costs_little(trainer: PromptTrainer) -> bool:
    """Whether the last test kept the features of its images, and CLIP without prompts has the same."""
    features, model = trainer.tested_features, trainer.model
    others = model.prompts_images or model.reads or model.prompt_learner.frozen_text is not None
    return features is not None and not others and trainer.node.PREC in ("fp16", "fp32")  # else CLIP is rounded


@torch.no_grad()
def zero_shot_pct(trainer: PromptTrainer) -> float:
    """The accuracy in percent of ZeroshotCLIP on the features of the last test."""
    features, model = trainer.tested_features, zero_shot_model(trainer, trainer.clip_model)
    assert features is not None
    labels, size = (
        [one.label for one in trainer.tested_loader.dataset.data_source],
        trainer.cfg.DATALOADER.TEST.BATCH_SIZE,
    )
    answers = [model.of_features(some.to(trainer.device)).logits.argmax(1).cpu() for some in features.split(size)]
    return 100 * (torch.cat(answers) == torch.tensor(labels)).float().mean().item()
