"""Batches of a run's own loaders on their way to fake CUDA tensors; called in the process of tests/fake_cuda/child.py."""

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any
from unittest import mock

import torch
from torch.utils.data.dataloader import _BaseDataLoaderIter

from modprompt.clip import byte_images
from tests.fake_cuda.device import fake_cuda, with_values
from tests.fake_cuda.runs import trainer_of
from tests.fake_cuda.watching import Watch

from modprompt.trainers.prompt_trainer import PromptTrainer  # isort: skip - runs has put Dassl on the path


class Copies(Watch):
    """Counts the bytes of images that go to the card, too."""

    image_bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Count a copy."""
        to = torch.device((kwargs or {}).get("device") or "cpu").type
        if func.overloadpacket.__name__ == "_to_copy" and to == "cuda" and args[0].dim() == 4:
            self.image_bytes += args[0].numel() * args[0].element_size()
        return super().__torch_dispatch__(func, types, args, kwargs)


def _second(trainer: Any, loader: Any) -> dict[str, Any]:
    """Of a loader's second batch, until it is on the device; what is sent once has gone with the first."""
    batches = iter(loader)
    PromptTrainer.parse_batch_train(trainer, next(batches))
    with Copies() as watch:
        images, _ = PromptTrainer.parse_batch_train(trainer, next(batches))
    kind = f"{images.dtype} {images.device.type}"
    return {"image bytes": watch.image_bytes, "waits": watch.counted().waits, "images": kind}


def copied(files: Sequence[str], flags: Mapping[str, Any], options: Sequence[str]) -> dict[str, Any]:
    """By loader what goes to the card: as it is, and as it was before."""
    of_values = ((_BaseDataLoaderIter, "__next__"), (byte_images, "_table"))  # where a run computes on the CPU
    with fake_cuda(), contextlib.ExitStack() as stack:
        for place, name in of_values:
            stack.enter_context(mock.patch.object(place, name, with_values(getattr(place, name))))
        trainer = trainer_of(files, flags, [*options, "DATALOADER.TEST.BATCH_SIZE", "4"])
        loaders = {"train": trainer.train_loader_x, "test": trainer.test_loader}
        found = {name: _second(trainer, loader) for name, loader in loaders.items()}
        return {**found, **{f"{name}, before": _second(trainer, one.loader) for name, one in loaders.items()}}
