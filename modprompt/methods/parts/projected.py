"""Gradients that do not go against a second loss's (ProGrad, arXiv 2205.14865, equation 5)."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from modprompt.engine.model import Output


def project(gradient: Tensor, against: Tensor, weight: float) -> Tensor:
    """A gradient without `weight` times its part against another one; unchanged if the two agree.

    Both of one shape, each taken as a single vector; against zeros the gradient is unchanged too.
    """
    direction = F.normalize(against.float().flatten(), dim=0, eps=torch.finfo(torch.float32).tiny)
    flat = gradient.float().flatten()
    along = (flat @ direction).clamp(max=0)  # not a number if either is not: the step shows it
    return (flat - weight * along * direction).view_as(gradient).to(gradient.dtype)


class _Losses(NamedTuple):
    """Two scalars of one graph, the weight of the projection, and the processes that share a batch, if several do."""

    loss: Tensor
    other: Tensor
    weight: float
    processes: Any


class _Step(torch.autograd.Function):
    """The value of a loss; its gradients are computed when they are needed, under any loss scale."""

    @staticmethod
    def forward(ctx: Any, losses: _Losses, *parameters: Tensor) -> Tensor:
        ctx.losses, ctx.parameters = losses, parameters
        return losses.loss.detach().clone()

    @staticmethod
    def backward(ctx: Any, scale: Tensor) -> tuple[Tensor | None, ...]:
        losses, parameters = ctx.losses, ctx.parameters
        mine = torch.autograd.grad(losses.loss, parameters, scale, retain_graph=True, allow_unused=True)
        theirs = torch.autograd.grad(losses.other, parameters, scale, allow_unused=True)
        if losses.processes is not None:
            mine, theirs = (tuple(_mean(one, losses.processes) for one in both) for both in (mine, theirs))
        return None, *map(_projected, mine, theirs, [losses.weight] * len(parameters))


def _projected(mine: Tensor | None, theirs: Tensor | None, weight: float) -> Tensor | None:
    return mine if mine is None or theirs is None else project(mine, theirs, weight)


def _mean(gradient: Tensor | None, processes: Any) -> Tensor | None:
    """The gradient of the whole batch, from those of its parts: projected parts are not the projected whole."""
    if gradient is None:
        return None
    dist.all_reduce(gradient, group=processes)
    return gradient / dist.get_world_size(processes)


def _processes() -> Any:
    """The processes of the DistributedDataParallel that runs this forward pass; None outside one."""
    if not (dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1):
        return None
    around = DistributedDataParallel._active_ddp_module
    return None if around is None else around.process_group


class Projected:
    """A rule of an objective: each parameter's gradient, by itself, is projected if it goes against another loss.

    Args:
        other: the other loss: `other(output, images (B, 3, H, W), labels (B,))` returns a scalar.
        weight: how much of the conflicting part is removed; 1 is all.
        parameters: returns what is learned.

    Attributes:
        noted: for the log, "kl_loss", the other loss of the last step.
    """

    def __init__(
        self,
        other: Callable[[Output, Tensor, Tensor], Tensor],
        weight: float,
        parameters: Callable[[], Iterator[nn.Parameter]],
    ):
        self.other = other
        self.weight = weight
        self.parameters = parameters
        self.noted: dict[str, Tensor] = {}

    def set_stream(self, stream: torch.dtype | None) -> None:
        """Set the type of the teacher's tokens between products, as in the prompted model."""
        if hasattr(self.other, "set_stream"):
            self.other.set_stream(stream)

    def __call__(self, loss: Tensor, output: Output, images: Tensor, labels: Tensor) -> Tensor:
        """The same value; its backward pass computes the projected gradients."""
        if not loss.requires_grad:
            return loss
        other = self.other(output, images, labels)
        self.noted["kl_loss"] = other.detach()
        learned: list[nn.Parameter] = [one for one in self.parameters() if one.requires_grad]
        projected: Tensor = _Step.apply(_Losses(loss, other, self.weight, _processes()), *learned)  # type: ignore[no-untyped-call]  # PyTorch's
        return projected
