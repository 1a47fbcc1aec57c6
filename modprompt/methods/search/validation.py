"""A search's second kind of step: alphas learn from validation images, between two steps of the prompts."""

from collections.abc import Iterator
from typing import Any

import torch

from modprompt.errors import UserError


class ValidationBatches:
    """Batches of a loader without end; a pass continues where the last call left it, across epochs.

    Args:
        loader: of the validation images, in a fixed order.
        first_only: whether it is always the first batch. It is read once, but each call draws the number that a new
            pass over the loader draws from torch's generator, since the reference starts one in every step.
    """

    def __init__(self, loader: Any, first_only: bool = False):
        self.loader = loader
        self.first_only = first_only
        self.taken = 0  # batches of the current pass
        self._pass: Iterator[Any] | None = None
        self._first: Any = None

    def __next__(self) -> Any:
        """The next batch."""
        if self._first is not None:
            torch.empty((), dtype=torch.int64).random_()
            return self._first
        if self._pass is None or self.taken == len(self.loader):
            self._pass, self.taken = iter(self.loader), 0
        self.taken += 1
        batch = next(self._pass)
        if self.first_only:
            self._first, self._pass = batch, None
        return batch

    def go_on(self, taken: int) -> None:
        """Resume a pass of another process after `taken` batches; nothing is drawn for it again.

        Raises:
            UserError: if the loader has fewer.
        """
        if taken > len(self.loader):
            raise UserError(f"the training state has seen {taken} batches of validation images, but there are fewer")
        with torch.random.fork_rng(devices=[]):
            if self.first_only and taken:
                self._first = next(iter(self.loader))
            elif taken:
                self._pass = iter(self.loader)
                for _ in range(taken):
                    next(self._pass)
        self.taken = taken
