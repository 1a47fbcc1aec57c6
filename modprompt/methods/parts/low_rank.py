"""Learned low-rank additions to the attention of a CLIP's layers (CLIP-LoRA, arXiv 2405.18541): where, how, how many.

Shapes: M matrices of a layer, r rank, D width of a side.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import nn

from modprompt.clip.facts import called
from modprompt.clip.towers import CLIP, has_tower, image_width, text_width
from modprompt.engine.layer_change import Changes
from modprompt.engine.low_rank import MATRICES, LowRank
from modprompt.engine.schedule import MOST_TOKENS, Shape
from modprompt.errors import SettingError, UserError
from modprompt.fields import Configured, setting

NODE = "TRAINER.CLIPLORA"
SIDES = ("text", "vision")
OF_ENCODER = {"both": SIDES, "text": ("text",), "vision": ("vision",)}
_PARTS = {  # of a side's layers, as shares
    "all": (0, 1),
    "bottom": (0, 1 / 3),
    "mid": (1 / 3, 2 / 3),
    "up": (2 / 3, 1),
    "half-bottom": (0, 1 / 2),
    "half-up": (1 / 2, 1),
}
_TOP = "top3"
POSITIONS = (*_PARTS, _TOP)


def layers_at(position: str, layers: int) -> tuple[int, ...]:
    """The layers, from 0, that POSITION names on a side with `layers` layers; SettingError for a missing one."""
    if position == _TOP:
        return tuple(range(layers))[-3:]
    if position in _PARTS:
        first, last = (round(share * layers) for share in _PARTS[position])
        return tuple(range(first, last))
    found: list[int] = []
    for word in position.replace(",", " ").split():
        first_word, dash, last_word = word.partition("-")
        if not (first_word.isdecimal() and (last_word.isdecimal() or not dash)):
            names = ", ".join(POSITIONS)
            raise SettingError([("POSITION", f" must be {names}, or layers from 0 as in '0 3 6-11', got {position!r}")])
        last = int((last_word or first_word)[:9])
        if last >= layers:
            raise SettingError([("POSITION", f" {position!r} names layer {last}, but a side has {layers} from 0 on")])
        found += range(int(first_word), last + 1)
    if not found or found != sorted(set(found)):
        raise SettingError([("POSITION", f" must name layers, each once and in order, got {position!r}")])
    return tuple(found)


@dataclass(frozen=True, repr=False)
class LowRankSettings(Configured):
    """Which matrices of which layers have an addition, of which rank, and how it is trained."""

    encoder: str = setting("both", "which side's layers", choices=tuple(OF_ENCODER))
    params: str = setting("q k v", "which matrices: q, k, v, o; their order is that of the draws")
    position: str = setting(
        "all", "which layers: all, bottom, mid, up, half-bottom, half-up, top3, or by number from 0: 0 3 6-11"
    )
    r: int = setting(2, "rank of the additions", least=1)
    alpha: float = setting(1.0, "they are scaled by ALPHA / sqrt(R)", least=0)
    dropout: float = setting(0.25, "share of their input that is dropped in training", least=0, compared=False)
    dropout_shared: bool = setting(
        False,
        "one mask for the tokens that classes share, which are computed once; the reference has one for each class",
        compared=False,
    )
    gradient: str = setting(
        "true",
        "reference: with DROPOUT 0 an addition passes no gradient to its input, as in the reference",
        choices=("true", "reference"),
        compared=False,
    )

    def check(self) -> None:
        super().check()
        words = self.matrices
        if not words or len(set(words)) < len(words) or not set(words) <= set(MATRICES):
            raise SettingError([("PARAMS", f" must be some of q k v o, each once, got {self.params!r}")])
        if self.dropout >= 1:
            raise SettingError([("DROPOUT", f" must be below 1, got {self.dropout:g}")])
        if self.gradient == "reference" and self.dropout:
            raise SettingError([("GRADIENT", " reference needs DROPOUT 0: only then does the reference do so")])
        if self.position not in POSITIONS:
            layers_at(self.position, MOST_TOKENS)

    @property
    def matrices(self) -> tuple[str, ...]:
        """The matrices of a layer."""
        return tuple(self.params.replace(",", " ").split())

    @property
    def scale(self) -> float:
        """The factor of the additions."""
        return self.alpha / math.sqrt(self.r)

    def layers(self, shape: Shape) -> dict[str, tuple[int, ...]]:
        """The layers that have additions, by side.

        Raises:
            SettingError: if a number is too large for a chosen side.
        """
        counts = dict(zip(SIDES, (shape.text_layers, shape.vision_layers)))
        return {side: layers_at(self.position, counts[side]) for side in OF_ENCODER[self.encoder]}

    def differences(self) -> tuple[str, ...]:
        """Where a training with these settings differs from the reference's."""
        said = []
        if self.dropout_shared and self.dropout and "text" in OF_ENCODER[self.encoder]:
            said.append(
                "what classes have in common had one dropout mask (DROPOUT_SHARED), not one each as in the reference"
            )
        if self.gradient == "reference":
            said.append("gradients are the reference's, in which DROPOUT 0 leaves a part out (GRADIENT reference)")
        return tuple(said)


class _Layer(nn.Module):
    """The parameters of a layer: a (M, r, D), uniform, and b (M, D, r), zeros."""

    def __init__(self, matrices: int, rank: int, width: int):
        super().__init__()
        self.a = nn.Parameter(torch.empty(matrices, rank, width))
        self.b = nn.Parameter(torch.zeros(matrices, width, rank))

    def draw(self) -> None:
        """Draw a as the reference does: after four layers for attention's matrices, and one for each changed matrix."""
        width = self.a.shape[-1]
        for _ in MATRICES:
            nn.Linear(width, width)
        with torch.no_grad():
            for a in self.a:
                nn.Linear(width, width)
                nn.init.kaiming_uniform_(a, a=math.sqrt(5))


class LowRankAdditions(nn.Module):
    """Low-rank additions to both sides' layers; float32, whatever CLIP computes in.

    Args:
        settings: which, and how.
        clip_model: a stock CLIP.
        layers: by side, the layers that have any.

    Raises:
        UserError: on a CLIP with sides of another package.
    """

    def __init__(self, settings: LowRankSettings, clip_model: CLIP, layers: Mapping[str, Sequence[int]]):
        super().__init__()
        if has_tower(clip_model):
            raise UserError(
                f"{called(clip_model)}: low-rank additions work only in the layers of OpenAI's kind of CLIP"
            )
        self.settings = settings
        for side, chosen in layers.items():
            width = text_width(clip_model) if side == "text" else image_width(clip_model)
            made = {str(layer): _Layer(len(settings.matrices), settings.r, width) for layer in chosen}
            for one in made.values():
                one.draw()
            self.add_module(side, nn.ModuleDict(made))

    @property
    def described(self) -> str:
        """Where they are and how large, in a sentence."""
        settings = self.settings
        where = [f"{side} layers {' '.join(self._of(side))}" for side in self._modules]
        what = f"{' '.join(settings.matrices)} of rank {settings.r}, times {settings.scale:.4g}"
        return f"Low-rank additions: {what}, in {', '.join(where)}"

    @property
    def on_text(self) -> bool:
        """Whether some are on the text side."""
        return "text" in self._modules

    @property
    def on_images(self) -> bool:
        """Whether some are on the image side."""
        return "vision" in self._modules

    def text_changes(self, layers: int) -> Changes:
        """The changes of the text side's layers."""
        return self._changes("text", layers)

    def vision_changes(self, layers: int) -> Changes:
        """The changes of the image side's layers."""
        return self._changes("vision", layers)

    def _changes(self, side: str, layers: int) -> Changes:
        """The current change of each layer of a side; none for a side without additions."""
        if side not in self._modules:
            return ()
        settings = self.settings
        made = {
            layer: LowRank(
                settings.matrices,
                one.a,
                one.b,
                settings.scale,
                rate=settings.dropout if self.training else 0.0,
                shared=settings.dropout_shared and side == "text",
                through=settings.gradient == "true",
                merges=not (self.training or torch.is_grad_enabled()),
            )
            for layer, one in self._of(side).items()
        }
        return [made.get(str(layer)) for layer in range(layers)]

    def _of(self, side: str) -> dict[str, _Layer]:
        return {layer: cast(_Layer, one) for layer, one in cast(nn.ModuleDict, self._modules[side]).items()}
