"""A training that is stopped, as by Ctrl-C."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest


@contextlib.contextmanager
def stopped_before(trainer: type, epoch: int) -> Iterator[None]:
    """In this context trainings of a class end before an epoch, counted from 0."""

    def stop(self):
        if self.epoch == epoch:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainer, "before_epoch", stop)
        yield
