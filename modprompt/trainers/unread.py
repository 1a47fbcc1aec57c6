"""Numbers of training steps that stay on the GPU until they are read together, because each read waits for the GPU."""

import math
from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

Number = float | Tensor  # a tensor of one element until it is read
_LOSS = "the loss"


def waits(device: torch.device) -> bool:
    """Return True if reading a value waits for the device."""
    return device.type != "cpu"


def _as_it_is(value: Number) -> Number:
    """Return a float for a tensor on the CPU, or a detached copy of a tensor on a GPU."""
    return value.detach().clone() if isinstance(value, Tensor) and waits(value.device) else float(value)


class Place(NamedTuple):
    """The epoch and the batch of a training step, counted from 0."""

    epoch: int
    step: int


class Unread:
    """Losses and other numbers of the steps since the last read, in one list."""

    def __init__(self) -> None:
        self._found: list[tuple[Place, dict[str, Number]]] = []

    def add_loss(self, loss: Tensor, place: Place) -> None:
        """Store a loss, which must not change any more; the loss is checked when it is read."""
        self._found.append((place, {_LOSS: loss}))

    def add(self, place: Place, numbers: Mapping[str, Number]) -> None:
        """Store the current numbers of a step by name."""
        self._found.append((place, {name: _as_it_is(value) for name, value in numbers.items()}))

    def check(self) -> None:
        """Copy all stored losses and numbers from the GPU, and raise an error if a loss is not finite.

        Raises:
            FloatingPointError: naming the first step whose loss is not finite; again at each call.
        """
        tensors = [x.reshape(()).double() for _, named in self._found for x in named.values() if isinstance(x, Tensor)]
        values = iter(torch.stack(tensors).cpu().tolist() if tensors else ())
        self._found = [
            (place, {name: next(values) if isinstance(x, Tensor) else x for name, x in named.items()})
            for place, named in self._found
        ]
        for place, named in self._found:
            if not math.isfinite(named.get(_LOSS, 0.0)):
                raise FloatingPointError(
                    f"The loss is {named[_LOSS]} at epoch {place.epoch + 1}, step {place.step + 1}. The last "
                    "checkpoint is unchanged. Lower OPTIM.LR, or set PREC to fp32."
                )

    def read(self) -> list[tuple[Place, dict[str, float]]]:
        """Return and remove the numbers that `add` stored, in the same order.

        Raises:
            FloatingPointError: as for `check`.
        """
        self.check()
        found, self._found = self._found, []
        return [(place, dict(named)) for place, named in found if _LOSS not in named]  # type: ignore[arg-type]  # read
