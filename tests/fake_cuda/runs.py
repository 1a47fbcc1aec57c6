"""A trainer's epoch and test on a card that is not there, counted and checked batch by batch."""

import contextlib
import traceback
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from unittest import mock

import torch

from modprompt.compat import find as compat
from modprompt.methods.search.run import ValidationBatches

compat.add_to_path()

from dassl.engine import build_trainer  # noqa: E402

import modprompt.data.readers.all  # noqa: E402
import modprompt.trainers.all  # noqa: E402, F401 - they register
from modprompt.io.settings import Settings  # noqa: E402
from modprompt.methods.parts import groups, templates  # noqa: E402
from modprompt.trainers import run_config  # noqa: E402
from modprompt.trainers.prompt_trainer import PromptTrainer  # noqa: E402
from tests.fake_cuda.device import fake_cuda, with_values  # noqa: E402
from tests.fake_cuda.watching import Counted, Watch  # noqa: E402

BATCH = 4


def batch_of(size: int) -> dict[str, torch.Tensor]:
    """What a loader gives."""
    labels = torch.arange(BATCH) % 2
    return {"img": torch.randn(BATCH, 3, size, size), "label": labels, "domain": labels}


class Batches(list[dict[str, torch.Tensor]]):
    """Stands for a loader; who asks it for a batch has done with the one before."""

    def __init__(self, count: int, size: int, watch: Watch):
        super().__init__([batch_of(size)] * count)
        self._watch = watch
        self.counted: list[Counted] = []  # by batch

    def __iter__(self) -> Iterator[dict[str, torch.Tensor]]:
        for batch in super().__iter__():
            self._watch.clear()
            yield batch
            self.counted.append(self._watch.counted())


@contextlib.contextmanager
def _built_with_values() -> Iterator[None]:
    """Images and weights are read as they are, and a model has values until it moves to the card."""
    with contextlib.ExitStack() as stack:
        for kind, name in (
            (PromptTrainer, "build_data_loader"),
            (PromptTrainer, "build_model"),
        ):
            original = getattr(kind, name)
            stack.enter_context(mock.patch.object(kind, name, with_values(original)))
        yield


def trainer_of(files: Sequence[str], flags: Mapping[str, Any], options: Sequence[str]) -> Any:
    """The trainer of a run, under `device.fake_cuda`."""
    cfg = run_config.from_words(Settings.read(files, flags, options))
    with _built_with_values():
        return build_trainer(cfg)


def _counts(batches: Batches) -> dict[str, Any]:
    """Of the second batch, for which nothing is made for the first time; of the first if there is no other."""
    return batches.counted[1 if len(batches) > 1 else 0]._asdict()


def _epoch(files: Sequence[str], flags: Mapping[str, Any], options: Sequence[str], steps: int) -> dict[str, Any]:
    few = mock.patch.object(groups, "DIVERSE", templates.DIVERSE[:2])  # PromptSRC's, which would take a minute
    with few, fake_cuda(), Watch() as watch:
        trainer = trainer_of(files, flags, [*options, "TRAIN.PRINT_FREQ", str(steps)])
        size, found = trainer.cfg.INPUT.SIZE[0], {}
        if hasattr(trainer, "optim"):
            trainer.train_loader_x = Batches(steps, size, watch)
            if trainer.search is not None:
                trainer.search._validation = ValidationBatches([batch_of(size)] * 2)
            trainer.run_epoch()
            found["step"] = _counts(trainer.train_loader_x)
        trainer.test_loader = Batches(min(steps, 2), size, watch)
        trainer.test()
        found["test"] = _counts(trainer.test_loader)
        if trainer.search is not None:
            learner = trainer.model.prompt_learner
            with learner.decided({side: [0] * len(options) for side, options in learner.options.items()}):
                trainer.test_loader = Batches(min(steps, 2), size, watch)
                trainer.test()
                found["test of a path"] = _counts(trainer.test_loader)
        return found


def epochs(files: Sequence[str], flags: Mapping[str, Any], each: Mapping[str, Any]) -> dict[str, Any]:
    """Several runs of an epoch and a test.

    Args:
        files: configs.
        flags: of all runs.
        each: by name of a run its (options, steps); the last step prints.

    Returns:
        By name the counts of a "step" (of a search: both of an alternation), of a batch of a "test" and of a search's
        "test of a path", the second of each; of a run that failed its "error".
    """
    found = {}
    for name, (options, steps) in each.items():
        try:
            found[name] = _epoch(files, flags, options, steps)
        except Exception as error:
            frames = [
                frame for frame in traceback.extract_tb(error.__traceback__) if "site-packages" not in frame.filename
            ]
            said = str(error).partition("\n")[0]
            found[name] = {"error": f"{type(error).__name__}: {said}\n{''.join(traceback.format_list(frames))}"}
    return found
