"""One training step, from a batch to changed parameters. Nothing in it waits for a device."""

from collections.abc import Callable
from typing import Any, NamedTuple

from torch import Tensor
from torch.optim import Optimizer

from modprompt.engine.model import Output

LossOf = Callable[[Tensor, Tensor], tuple[Output, Tensor]]


class Done(NamedTuple):
    """The results of a step: the loss, a float32 scalar, and the output, without gradients and on the device.

    No later step writes into them.
    """

    loss: Tensor
    output: Output

    @property
    def logits(self) -> Tensor:
        """(B, C)."""
        return self.output.logits


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
