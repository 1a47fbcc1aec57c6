"""Training a head on a bank of precomputed features, without a CLIP model."""

import contextlib
import math
from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from dassl.optim import build_lr_scheduler, build_optimizer
from torch import Tensor
from tqdm import tqdm

from modprompt.errors import UserError
from modprompt.methods.heads.base import Bank, Batch, Head
from modprompt.trainers import mistakes


class _Shuffled:
    """Yields batches of image features and labels in a new random order in each epoch.

    Args:
        bank: the features and labels of the training images.
        size: the number of images in a batch.
        keeps_rest: whether the last batch of an epoch may be smaller; if not, the remaining images are left out.
    """

    def __init__(self, bank: Bank, size: int, keeps_rest: bool):
        self.features, self.labels, self.size = bank.views[0], bank.labels[0], min(size, len(bank.labels[0]))
        count = len(self.labels) / self.size
        self.batches = math.ceil(count) if keeps_rest else math.floor(count)

    def __len__(self) -> int:
        return self.batches

    def __iter__(self) -> Iterator[Batch]:
        for picked in torch.randperm(len(self.labels)).split(self.size)[: self.batches]:
            yield {"img": self.features[picked], "label": self.labels[picked]}


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """Use one thread within the block: a step is so short that several threads mostly wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def train_on_bank(head: Head, bank: Bank, scale: Tensor, epochs: int, cfg: Any, name: str) -> None:
    """Train a head with the cross-entropy loss, and show the progress.

    Args:
        head: the head, which is changed in place.
        bank: the features and labels of the training images, and the class features.
        scale: the factor of the logits, a scalar.
        epochs: the number of epochs.
        cfg: the configuration, of which OPTIM and DATALOADER.TRAIN_X.BATCH_SIZE are read.
        name: the name of the training in messages.

    Raises:
        UserError: if the last loss is not finite, or OPTIM has an invalid value.
    """
    size = cfg.DATALOADER.TRAIN_X.BATCH_SIZE
    batches = head.batches(bank, size)
    batches = _Shuffled(bank, size, head.keeps_rest) if batches is None else batches
    text, own = head.pooled(bank.text), head.rates(epochs * len(batches))
    if own is None:
        with mistakes.of_settings("OPTIM"):
            optimiser = build_optimizer([one for one in head.parameters() if one.requires_grad], cfg.OPTIM)
            schedule = build_lr_scheduler(optimiser, cfg.OPTIM)
    else:
        optimiser, schedule = own
    loss = torch.zeros(())
    with _one_thread():
        for _ in tqdm(range(epochs), desc=name, leave=False, disable=None):
            for batch in batches:
                loss = F.cross_entropy(head(batch["img"], text, scale), batch["label"]) + head.penalty()
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
                if own is not None and schedule is not None:
                    schedule.step()
            if own is None:
                schedule.step()
            head.end_epoch()
    if not torch.isfinite(loss):
        raise UserError(
            f"The training of {name} diverged: the loss is {float(loss)}. Set a lower learning rate (OPTIM.LR)."
        )
