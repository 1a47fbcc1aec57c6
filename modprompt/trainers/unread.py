"""Numbers of steps that stay on a GPU until they are read together, since every read waits for the GPU's work."""

import math
from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

Number = float | Tensor  # a tensor of one element until it is read
_LOSS = "the loss"


def waits(device: torch.device) -> bool:
    """Whether reading a value waits for the device."""
    return device.type != "cpu"


def _as_it_is(value: Number) -> Number:
    """A number that no later step changes: read if that costs nothing."""
    return value.detach().clone() if isinstance(value, Tensor) and waits(value.device) else float(value)


class Place(NamedTuple):
    """A step of a training, both counted from 0."""

    epoch: int
    step: int


class Unread:
    """Losses and other numbers of the steps since the last read, in one list."""

    def __init__(self) -> None:
        self._found: list[tuple[Place, dict[str, Number]]] = []

    def add_loss(self, loss: Tensor, place: Place) -> None:
        """Remember a loss, which nobody changes any more, to be checked when it is read."""
        self._found.append((place, {_LOSS: loss}))

    def add(self, place: Place, numbers: Mapping[str, Number]) -> None:
        """Remember numbers of a step by name, as they are now."""
        self._found.append((place, {name: _as_it_is(value) for name, value in numbers.items()}))

    def check(self) -> None:
        """Read everything, in one wait, and keep it.

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
        """The numbers of `add`, in their order; afterwards none are left.

        Raises:
            FloatingPointError: as check.
        """
        self.check()
        found, self._found = self._found, []
        return [(place, dict(named)) for place, named in found if _LOSS not in named]  # type: ignore[arg-type]  # read
