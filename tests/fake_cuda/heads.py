"""Steps of heads on a card that is not there, counted."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from modprompt.methods.heads.base import FreshViews
from tests.fake_cuda.device import fake_cuda
from tests.fake_cuda.runs import BATCH, Batches, trainer_of
from tests.fake_cuda.watching import Watch


def _epoch(files: Sequence[str], flags: Mapping[str, Any], options: Sequence[str]) -> dict[str, Any]:
    """Counts of a step: the second of three, the last of which prints; images are encoded in it."""
    with fake_cuda(), Watch() as watch:
        trainer = trainer_of(files, flags, [*options, "TRAIN.PRINT_FREQ", "3"])
        labels = torch.arange(BATCH) % 2
        view = torch.randn(BATCH, trainer.model.width)
        trainer.building.of_bank([(view, labels)] * trainer.run.method.passes())
        batches = Batches(3, trainer.cfg.INPUT.SIZE[0], watch)
        trainer.train_loader_x = FreshViews(batches, trainer.evaluation.encode_image)
        trainer.run_epoch()
        return batches.counted[1]._asdict()


def epochs(files: Sequence[str], flags: Mapping[str, Any], each: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """The counts of several runs, each by its name with options of its own."""
    return {name: _epoch(files, flags, options) for name, options in each.items()}
