"""CLIP-Adapter (arXiv 2110.04544): a small residual network after the image features.

Shapes: B images, C classes, D joint width.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from modprompt.errors import SettingError
from modprompt.fields import setting
from modprompt.methods.heads.base import Head, cosines
from modprompt.methods.heads.method import FreshViewsHead
from modprompt.methods.parts.capabilities import Logging, SavedAs


@dataclass(frozen=True, repr=False)
class CLIP_Adapter(FreshViewsHead):  # noqa: N801 - the name that users know
    """Two layers without biases, mixed with the features that they read; the same for all classes."""

    node = "TRAINER.CLIP_ADAPTER"
    saved_as = SavedAs("clip_adapter")
    logging = Logging(accuracy=True)

    ratio: float = setting(0.2, "the weight of the adapted features, from 0 to 1", least=0)
    reduction: int = setting(
        4, "the factor by which the hidden layer of the adapter is narrower than the features", least=1
    )

    def check(self) -> None:
        super().check()
        if self.ratio > 1:
            raise SettingError([("RATIO", f" must be at most 1, got {self.ratio}.")])

    def head(self, names: Sequence[str], width: int) -> "CLIPAdapterHead":
        return CLIPAdapterHead(names, width, self.ratio, self.reduction)


class CLIPAdapterHead(Head):
    """s norm(r A(f) + (1 - r) f).t, with A(f) = relu(M2 relu(M1 f)) of raw features; M1 (D/k, D), M2 (D, D/k).

    Args:
        ratio: r, the share of the adapted features.
        reduction: k, how much narrower the network is in the middle.
        called: the network's name in checkpoints.
    """

    def __init__(self, names: Sequence[str], width: int, ratio: float, reduction: int, called: str = "fc"):
        super().__init__(names)
        self.ratio, self.called = ratio, called
        narrow = max(width // reduction, 1)
        layers = nn.Linear(width, narrow, bias=False), nn.ReLU(), nn.Linear(narrow, width, bias=False), nn.ReLU()
        self.add_module(called, nn.Sequential(*layers))

    def forward(self, image: Tensor, text: Tensor, scale: Tensor) -> Tensor:
        adapted = self.get_submodule(self.called)(image)
        return scale * cosines(self.ratio * adapted + (1 - self.ratio) * image, text)
