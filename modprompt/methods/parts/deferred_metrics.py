"""Numbers of steps that stay on a GPU until they are read together, since every read waits for the GPU's work.

On a CPU, where a read costs nothing, every number is read at once.
"""

import math
from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

Number = float | Tensor  # a tensor of one element until it is read


def waits(device: torch.device) -> bool:
    """Whether reading a value waits for the device."""
    return device.type != "cpu"


def settled(value: Number) -> Number:
    """A number: read if that costs nothing, otherwise unchanged."""
    return value if isinstance(value, Tensor) and waits(value.device) else float(value)


class Place(NamedTuple):
    """A step of a training, both counted from 0."""

    epoch: int
    step: int


def require_finite(loss: float, place: Place) -> None:
    """Raise FloatingPointError, naming the step, if its loss is not finite."""
    if not math.isfinite(loss):
        raise FloatingPointError(
            f"the loss is {loss} at epoch {place.epoch + 1}, step {place.step + 1}: "
            "lower OPTIM.LR or use PREC fp32; the last checkpoint is untouched"
        )


class Unread:
    """Losses and other numbers of the steps since the last read."""

    def __init__(self) -> None:
        self._losses: list[tuple[Place, Tensor]] = []
        self._numbers: list[tuple[int, dict[str, Number]]] = []

    def check(self, loss: Tensor, place: Place) -> None:
        """Raise FloatingPointError if a loss is not finite and that can be known without waiting; else `read` does."""
        if not waits(loss.device):
            require_finite(loss.item(), place)

    def add_loss(self, loss: Tensor, place: Place) -> None:
        """Remember a loss, which nobody changes any more, to be checked when it is read."""
        if waits(loss.device):
            self._losses.append((place, loss))

    def require_finite(self) -> None:
        """Read only the losses, to check them.

        Raises:
            FloatingPointError: naming the first step whose loss is not finite; again at each call.
        """
        for (place, _), value in zip(self._losses, _values([loss for _, loss in self._losses])):
            require_finite(value, place)
        self._losses = []

    def add(self, step: int, numbers: Mapping[str, Number] | None) -> None:
        """Remember numbers of a step by name, as they are now."""
        self._numbers.append((step, {name: _as_it_is(value) for name, value in (numbers or {}).items()}))

    def read(self) -> list[tuple[int, dict[str, float]]]:
        """The numbers of all steps in their order; afterwards none are left.

        Raises:
            FloatingPointError: naming the first step whose loss is not finite.
        """
        losses, numbers = self._losses, self._numbers
        self._losses, self._numbers = [], []
        tensors = [loss for _, loss in losses]
        tensors += [value for _, named in numbers for value in named.values() if isinstance(value, Tensor)]
        values = iter(_values(tensors))
        for place, _ in losses:
            require_finite(next(values), place)
        return [
            (step, {name: next(values) if isinstance(value, Tensor) else value for name, value in named.items()})
            for step, named in numbers
        ]


def _as_it_is(value: Number) -> Number:
    """A number that no later step changes."""
    value = settled(value)
    return value.detach().clone() if isinstance(value, Tensor) else value


def _values(tensors: list[Tensor]) -> list[float]:
    """Values of tensors of one element each, in one read."""
    if not tensors:
        return []
    values: list[float] = torch.stack([tensor.detach().reshape(()).double() for tensor in tensors]).cpu().tolist()
    return values
