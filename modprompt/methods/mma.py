"""MMA (CVPR 2024): bottlenecks parallel to the upper blocks of both sides, with a matrix in the middle that they share.

Shapes: N tokens, D width of a side, m width of the bottleneck, T text width, V vision width.
"""

import functools
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn

from modprompt.clip.build import layers_of
from modprompt.clip.towers import CLIP, image_width, text_width
from modprompt.engine.layer_change import Changes, LayerChange
from modprompt.engine.prompts import Prompts
from modprompt.engine.schedule import Schedules, Shape, without_prompts
from modprompt.engine.text_layout import TextTokens
from modprompt.errors import SettingError, UserError
from modprompt.fields import setting
from modprompt.methods.base import Method
from modprompt.methods.parts.capabilities import SavedAs
from modprompt.methods.parts.learners import Classes, Learner
from modprompt.methods.together import Addition, require_takes


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
            text = f" must differ from the widths of the two encoders ({widths[0]} and {widths[1]}), got {dim}."
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


M = TypeVar("M", bound=Method)


@dataclass(frozen=True, repr=False)
class MultiModalAdapter(Addition):
    """MMA: adapters in the layers from ADAPTER_START to ADAPTER_END of both sides, no prompts; not on ResNets."""

    node = "TRAINER.MMADAPTER"
    saved_as = SavedAs("adapter_learner", "")
    prec = "amp"
    wants_vision = True

    text_ctx_init: str = setting("", "the words before the class name; empty uses the class name only", kept=True)
    adapter_start: int = setting(
        4, "the first layer with an adapter, counted from 1; 0 also adapts the input of the first layer", least=0
    )
    adapter_end: int = setting(12, "the last layer with an adapter, counted from 1", least=0, layers_of="both")
    adapter_dim: int = setting(32, "the width of the adapter bottlenecks", least=1)
    adapter_scale: float = setting(0.1, "the factor on the output of the adapters")
    joins: bool = setting(False, "adds the adapters to the prompts of CoOp or MPL if True", key="ON", compared=False)

    def check(self) -> None:
        super().check()
        if not self.adapter_scale:
            raise SettingError([("ADAPTER_SCALE", " must not be 0, because the adapters would have no effect.")])
        if self.joins:
            require_takes(type(self).__name__, "MMADAPTER")

    def schedules(self, shape: Shape) -> Schedules:
        """No prompts on either side.

        Raises:
            SettingError: if one side has no such layer, or the range has none.
        """
        self._require_layers(shape)
        return without_prompts(shape)

    def _require_layers(self, shape: Shape) -> None:
        layers = min(shape)
        if self.adapter_end > layers:
            text = (
                f" must be at most {layers}, the number of layers in the encoder with fewer layers, got "
                f"{self.adapter_end}."
            )
            raise SettingError([("ADAPTER_END", text)])
        if self.adapter_start > self.adapter_end:
            text = f" {self.adapter_start} is greater than ADAPTER_END {self.adapter_end}, so no layer has an adapter."
            raise SettingError([("ADAPTER_START", text)])

    def learner(self, clip_model: CLIP, classes: Classes, schedules: Schedules) -> "AdapterLearner":
        adapters = self._adapters(clip_model)
        return AdapterLearner(classes.names, clip_model, schedules, self.text_ctx_init, adapters)

    def _adapters(self, clip_model: CLIP) -> Adapters:
        layers = range(self.adapter_start, self.adapter_end + 1)
        widths = (text_width(clip_model), image_width(clip_model))
        return Adapters(widths, layers, self.adapter_dim, self.adapter_scale)

    def over(self, method: M) -> M:
        """CoOp or MPL with these adapters beside its prompts, trained together.

        Raises:
            SettingError: on another method, one that searches for its schedule, or ADAPTER_START 0.
        """
        found = super().over(method)
        if not self.adapter_start:
            raise SettingError(
                [
                    (
                        "ADAPTER_START",
                        " 0 adapts the input words, which are learned by the prompts. Set ADAPTER_START to 1 or more.",
                    )
                ]
            )
        return found

    def join(self, learner: Learner, again: Callable[[], Learner], clip_model: CLIP, classes: Classes) -> Learner:
        self._require_layers(Shape(*layers_of(clip_model)))
        learner.take(self._adapters(clip_model))
        return learner


class AdapterLearner(Learner):
    """Fixed class prompts, and adapters in both sides.

    Args:
        prefix: the words before a name.
        adapters: what is learned.

    Raises:
        UserError: if a prompt is longer than the text context, or words are adapted where padding is read too.
    """

    adapters: Adapters
    not_read = ("token_embedding", "tokenized_prompts")

    def __init__(
        self, classnames: Sequence[str], clip_model: CLIP, schedules: Schedules, prefix: str, adapters: Adapters
    ):
        super().__init__(schedules, prefix)
        self.take(adapters)
        self.register_buffer("ctx", torch.empty(0, text_width(clip_model), dtype=clip_model.dtype), persistent=False)
        self.put_in(classnames, clip_model)

    def forward(self) -> Prompts:
        text, vision = map(len, self.schedules)
        return self.adapted(Prompts(self._words(), [None] * text, [None] * vision))

    def _words(self) -> Any:
        words = self.prompt_text(self.ctx)
        if not self.adapters.adapts_words:
            return words
        if not isinstance(words, TextTokens):
            raise UserError(
                "ADAPTER_START 0 is supported only with text encoders that have a causal mask. Set ADAPTER_START to "
                "1 or more."
            )
        suffixes = [one._replace(tokens=self.adapters.words(one.tokens)) for one in words.suffixes]
        return words._replace(prefix=self.adapters.words(words.prefix), suffixes=suffixes)

    @staticmethod
    def checkpoint_key(name: str) -> str:
        return name[len("adapters.") :]
