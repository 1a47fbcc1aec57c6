"""CLIP-Adapter and Tip-Adapter as CLAP's authors compare them (arXiv 2312.12730): trained on all views of a bank.

Shapes: N training images, B images, C classes, D joint width.
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from torch import Tensor, nn

from modprompt.methods.heads.bank import Bank, mean_text, unit
from modprompt.methods.heads.base import TEST, TRAIN, Head
from modprompt.methods.heads.clip_adapter import CLIPAdapterHead
from modprompt.methods.heads.fitting import PermutedViews
from modprompt.methods.heads.tip_adapter import TipAdapterHead

_OF_ALL = ("prototypes", "base_text_features", "logit_scale")  # in checkpoints of all their heads; not read


class _Compared(Head):
    """A head whose checkpoints also have class features."""

    encodes: ClassVar[tuple[str, ...]] = (TEST, TRAIN)

    def batches(self, bank: Bank, size: int) -> Any:
        """All views, permuted; an epoch has as many samples as there are images."""
        return PermutedViews.of(bank, size)

    def rates(self, steps: int) -> None:
        """None: the configured ones."""

    def take(self, state: Mapping[str, Tensor], path: str) -> None:
        super().take({name: tensor for name, tensor in state.items() if name not in _OF_ALL}, path)


class ClipA(_Compared, CLIPAdapterHead):
    """CLIP-Adapter, with its network named `mlp`."""

    in_order = False
    mlp: nn.Sequential

    def __init__(self, names: Sequence[str], width: int):
        super().__init__(names, width, ratio=0.2, reduction=4)
        self._modules["mlp"] = self._modules.pop("fc")

    @property
    def fc(self) -> nn.Sequential:  # type: ignore[override]  # there it is the attribute that is renamed here
        """The network."""
        return self.mlp


class TipA(_Compared, TipAdapterHead):
    """Tip-Adapter with alpha = beta = 1; with `trained` its keys are trained at the configured learning rate.

    Args:
        names: of the C classes.
        width: D.
        trained: whether the keys are trained.
        published: as the authors run it: affinities of raw features, the mean of raw class features, and training on
            the cached features themselves, where the loss is about 0.
    """

    keeps_rest = False

    def __init__(self, names: Sequence[str], width: int, trained: bool, published: bool):
        super().__init__(names, width, 1.0, 1.0, 0.0 if trained else None)
        self.published = published

    def batches(self, bank: Bank, size: int) -> PermutedViews:
        mean = Bank(bank.views.mean(0, keepdim=True), bank.labels[:1], bank.text)
        return PermutedViews.of(mean if self.published else bank, size)

    def pooled(self, text: Tensor) -> Tensor:
        """Class features (C, D), of length 1 unless `published`."""
        return mean_text(text) if self.published else super().pooled(text)

    def affinity(self, image: Tensor) -> Tensor:
        """(B, N) of raw image features (B, D) with the keys."""
        return image @ unit(self.keys).t() if self.published else super().affinity(image)
