"""Bottlenecks parallel to the blocks of both sides, with a matrix in the middle that the sides share (MMA, CVPR 2024).

Shapes: N tokens, D width of a side, m width of the bottleneck, T text width, V vision width.
"""

import functools
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor, nn

from modprompt.engine.layer_change import Changes, LayerChange
from modprompt.errors import SettingError


class _Scaled(torch.autograd.Function):
    """x itself; its gradient is multiplied by a scale."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: float) -> Tensor:
        ctx.scale = scale
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return grad * ctx.scale, None


class _Sum(torch.autograd.Function):
    """x + scale * added, with the gradients of x + added."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, added: Tensor, scale: float) -> Tensor:
        return torch.add(x, added, alpha=scale)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        return grad, grad, None


class Bottleneck:
    """up(relu(shared(relu(down(x))))) for tokens x (N, D), in their type.

    Args:
        side: `down` (D to m, with a ReLU) and `up` (m to D).
        shared: m to m, with a ReLU.
    """

    def __init__(self, side: nn.Sequential, shared: nn.Sequential):
        self.side = side
        self.shared = shared

    def __call__(self, x: Tensor) -> Tensor:
        """(N, D)."""
        down, up = self.side
        kind = cast(nn.Linear, up).weight.dtype
        made: Tensor = up(self.shared(down(x.to(kind))))
        return made.to(x.dtype)


class Adapter(LayerChange):
    """out + scale * beside(h), h the normalised tokens that entered the block.

    The parameters get the true gradient divided by the scale, as in MMA, so that they learn at small scales; h gets
    the true gradient.

    Args:
        scale: of what is added.
        beside: the bottleneck parallel to the block; None for none.
        before: the one before the block: tokens x that enter it become x + scale * before(x), with true gradients.
    """

    def __init__(self, scale: float, beside: Bottleneck | None, before: Bottleneck | None = None):
        self.scale = scale
        self.beside = beside
        self.before = before

    def enters(self, x: Tensor) -> Tensor:
        """Tokens with what is added."""
        return x if self.before is None else torch.add(x, self.before(x), alpha=self.scale)

    def residual(self, out: Tensor, h: Tensor) -> Tensor:
        if self.beside is None:
            return out
        scaled: Tensor = _Scaled.apply(h, self.scale)  # type: ignore[no-untyped-call]  # torch's
        summed: Tensor = _Sum.apply(out, self.beside(scaled), self.scale)  # type: ignore[no-untyped-call]
        return summed


class Adapters(nn.Module):
    """The adapters of both sides, under the names of MMA's checkpoints.

    Random draws: text, vision, shared; for each first all layers as PyTorch draws them, then all weights again.

    Args:
        widths: T and V.
        layers: the blocks with an adapter, from 1 on; 0 for the tokens before the first block.
        dim: m.
        scale: of what is added.

    Raises:
        SettingError: if m equals a side's width.
    """

    def __init__(self, widths: tuple[int, int], layers: range, dim: int, scale: float):
        super().__init__()
        if dim in widths:
            text = f" must differ from the widths of the sides ({widths[0]} and {widths[1]}), got {dim}"
            raise SettingError([("ADAPTER_DIM", text)])
        self.scale = scale
        of_text, of_vision = (functools.partial(_bottleneck, width, dim) for width in widths)
        self.text_adapter = _drawn(layers, of_text)
        self.visual_adapter = _drawn(layers, of_vision)
        self.shared_adapter = _drawn(layers, lambda: nn.Sequential(nn.Linear(dim, dim), nn.ReLU()))

    on_text = on_images = True

    @property
    def adapts_words(self) -> bool:
        """Whether there is an adapter 0."""
        return "0" in self.shared_adapter

    def text_changes(self, layers: int) -> Changes:
        """The changes of the text side's `layers` blocks."""
        return [self._beside("text", number) for number in range(1, layers + 1)]

    def vision_changes(self, layers: int) -> Changes:
        """The changes of the vision side's blocks; adapter 0 is before the first."""
        first, *others = (self._beside("visual", number) for number in range(1, layers + 1))
        before = self._bottleneck("visual", 0)
        if before is not None:
            first = Adapter(self.scale, None if first is None else first.beside, before)
        return [first, *others]

    def words(self, x: Tensor) -> Tensor:
        """Embedded words x (..., T), before positions are added, with what adapter 0 adds."""
        return Adapter(self.scale, None, self._bottleneck("text", 0)).enters(x)

    def _beside(self, side: str, number: int) -> Adapter | None:
        beside = self._bottleneck(side, number)
        return None if beside is None else Adapter(self.scale, beside)

    def _bottleneck(self, side: str, number: int) -> Bottleneck | None:
        own, name = getattr(self, f"{side}_adapter"), str(number)
        if name not in own:
            return None
        return Bottleneck(cast(nn.Sequential, own[name]), cast(nn.Sequential, self.shared_adapter[name]))


def _bottleneck(width: int, dim: int) -> nn.Sequential:
    down = nn.Sequential(nn.Linear(width, dim), nn.ReLU())
    return nn.Sequential(OrderedDict(down=down, up=nn.Linear(dim, width)))


def _drawn(layers: range, make: Callable[[], nn.Module]) -> nn.ModuleDict:
    made = nn.ModuleDict({str(number): make() for number in layers})
    for part in made.modules():
        if isinstance(part, nn.Linear):
            nn.init.kaiming_normal_(part.weight, mode="fan_out", nonlinearity="relu")
            nn.init.zeros_(part.bias)
    return made
