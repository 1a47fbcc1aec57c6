"""A training step, from a batch to changed parameters, and its numbers, which nothing in it waits for."""

import inspect
import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.optim import Optimizer

from modprompt.engine.model import Output

_FUSED = {"fused": True, "foreach": None}
LossOf = Callable[[Tensor, Tensor], tuple[Output, Tensor]]


class Done(NamedTuple):
    """The results of a step: the loss, a float32 scalar, and the output, without gradients and on the device.

    No later step writes into them.
    """

    loss: Tensor
    output: Output


class Step:
    """A step of an optimiser on the loss of a batch.

    Args:
        loss_of: returns the output and the loss of images (B, 3, H, W) and labels (B,). If it raises, the step ends
            before any parameter has changed.
        optimiser: of the parameters.
        scaler: for the loss, against gradients that vanish in half precision; None for none.
        alone: whether only the optimiser's parameters get gradients: where another optimiser has the other leaves,
            theirs are not worth computing.
    """

    def __init__(self, loss_of: LossOf, optimiser: Optimizer, scaler: Any = None, alone: bool = False):
        self.loss_of = loss_of
        self.optimiser = optimiser
        self.scaler = scaler
        self._inputs = [one for group in optimiser.param_groups for one in group["params"]] if alone else None

    def __call__(self, images: Tensor, labels: Tensor) -> Done:
        """One step on images (B, 3, H, W) and labels (B,), on the device."""
        output, loss = self.loss_of(images, labels)
        self.optimiser.zero_grad()
        if self.scaler is None:
            loss.backward(inputs=self._inputs)
            self.optimiser.step()
        else:
            self.scaler.scale(loss).backward(inputs=self._inputs)
            self.scaler.step(self.optimiser)
            self.scaler.update()
        return Done(loss.detach().float(), output.map(Tensor.detach))


def fused(optimiser: Optimizer) -> Optimizer:
    """The optimiser as one kernel, which skips a spoilt step by itself, so that no loss scaler waits for it.

    Unchanged where PyTorch has none for its kind and settings. Momentum starts as zeros: if the first step overflows,
    PyTorch would otherwise continue from memory that was never written. Without dampening, steps are the same.
    """
    kinds = (torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW)
    if type(optimiser) not in kinds or any(group.get("dampening") for group in optimiser.param_groups):
        return optimiser
    names = inspect.signature(type(optimiser)).parameters
    settings = {name: value for name, value in optimiser.defaults.items() if name in names}
    made: Any = type(optimiser)([{**group, **_FUSED} for group in optimiser.param_groups], **{**settings, **_FUSED})
    for group in made.param_groups:
        for parameter in group["params"] if group.get("momentum") else ():
            made.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
    return made  # type: ignore[no-any-return]


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
                    f"the loss is {named[_LOSS]} at epoch {place.epoch + 1}, step {place.step + 1}: "
                    "lower OPTIM.LR or use PREC fp32; the last checkpoint is untouched"
                )

    def read(self) -> list[tuple[Place, dict[str, float]]]:
        """The numbers of `add`, in their order; afterwards none are left.

        Raises:
            FloatingPointError: as check.
        """
        self.check()
        found, self._found = self._found, []
        return [(place, dict(named)) for place, named in found if _LOSS not in named]  # type: ignore[arg-type]  # read
