"""LP++ (arXiv 2404.02285): a linear probe, plus zero-shot logits with a learned weight for each class.

Shapes: N training images, B images, C classes, D joint width.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Optimizer

from modprompt.fields import setting
from modprompt.io.settings import AS_MANY
from modprompt.methods.heads.base import TRAIN, VAL, Bank, Batch, Head, cosines, images_of, unit, unit_mean_text
from modprompt.methods.heads.method import HeadMethod
from modprompt.methods.parts.capabilities import Logging, SavedAs, Training

_ALPHA = 250.0  # factor of the mean cosine of images with their class's text
_EVERY = 10  # steps from one of alpha to the next
_MOMENTUM = 0.9


@dataclass(frozen=True, repr=False)
class LPPlusPlus(HeadMethod):
    """All images in each step, with learning rates computed from their features: OPTIM is not read."""

    node = "TRAINER.LPPLUSPLUS"
    saved_as = SavedAs("lpplusplus")
    logging = Logging(accuracy=True)

    train_epoch: int = setting(
        300,
        "the number of training epochs; each epoch is a single step on all training images",
        least=1,
        compared=False,
    )
    best_epoch_on: str = setting(
        "",
        "the images that select the best epoch: as many uses a validation set of the same size as the "
        "training set, as in the original code; empty uses the last epoch",
        choices=("", AS_MANY),
        compared=False,
    )
    latest_best: bool = setting(
        False,
        "selects the last of several equally good epochs, as in the original code, if True; only with BEST_EPOCH_ON",
        compared=False,
    )

    def head(self, names: Sequence[str], width: int) -> "LPPlusPlusHead":
        return LPPlusPlusHead(names, width)

    def passes(self) -> int:
        return 1

    def epochs(self, configured: int) -> int:
        return self.train_epoch

    @classmethod
    def chooses_by(cls, settings: Mapping[str, Any]) -> str:
        return str(settings["BEST_EPOCH_ON"])

    def best_on(self) -> str:
        return VAL if self.best_epoch_on else ""

    @property
    def training(self) -> Training:
        return Training(later_of_equals=self.latest_best)


def steepness(image: Tensor, near: Tensor) -> tuple[float, float]:
    """Learning rates from bounds on the curvature of the loss: for weight and bias, and for alpha.

    4 N / largest eigenvalue of F^T F, and N / (4 max_c sum_i (f_i w_c)^2).

    Args:
        image: F, normalised features (N, D).
        near: f_i w_c, their cosines with class features (N, C).
    """
    largest = torch.linalg.eigvalsh((image.t() @ image).double())[-1]
    steepest = near.square().sum(0).max()
    return float(4 * len(image) / largest), float(len(image) / (4 * steepest))


def first_alpha(near: Tensor, labels: Tensor) -> float:
    """250 times the mean, over classes that have images, of a class's mean cosine with its text.

    Args:
        near: cosines of images with class features (N, C).
        labels: of the images (N,).
    """
    own = near.gather(1, labels[:, None])[:, 0].double()
    of_classes = own.new_zeros(near.shape[1]).index_add_(0, labels, own)
    images = images_of(labels, near.shape[1])
    return float(_ALPHA * (of_classes / images.clamp(min=1)).sum() / (images > 0).sum())


class LPPlusPlusHead(Head):
    """f W^T + b + alpha_c (f.w_c) of normalised features: W (C, D) from the sum of a class's images, b (C), alpha (C).

    A class that it was not made for has no W and b, and the mean of alpha: with only such classes it is zero-shot CLIP.
    """

    encodes = (TRAIN, VAL)
    seeds_anew = True
    in_order = False
    on_clip_scale = False
    rows = {"weight": 0, "bias": 0, "alpha": 0}
    reads_text = True
    weight: nn.Parameter
    bias: nn.Parameter
    alpha: nn.Parameter
    steepness: tuple[float, float]

    def __init__(self, names: Sequence[str], width: int):
        super().__init__(names)
        self.weight = nn.Parameter(torch.zeros(len(names), width))
        self.bias = nn.Parameter(torch.zeros(len(names)))
        self.alpha = nn.Parameter(torch.zeros(len(names)))

    def build(self, bank: Bank, scale: Tensor) -> None:
        """From the first view; b as Linear draws it, after its weight, which is not used."""
        image, labels = unit(bank.views[0]), bank.labels[0]
        near = cosines(image, self.pooled(bank.text))
        drawn = nn.Linear(self.weight.shape[1], len(self.names))
        self._put("weight", torch.zeros_like(self.weight.detach()).index_add_(0, labels, image))
        self._put("bias", drawn.bias.detach().to(image))
        self._put("alpha", torch.full_like(self.alpha.detach(), first_alpha(near, labels)))
        self.steepness = steepness(image, near)

    def pooled(self, text: Tensor) -> Tensor:
        return unit_mean_text(text)

    def forward(self, image: Tensor, text: Tensor, scale: Tensor) -> Tensor:
        """Logits (B, C), without CLIP's scale."""
        return F.linear(unit(image), self.weight, self.bias) + self.alpha * cosines(image, text)

    def batches(self, bank: Bank, size: int) -> list[Batch]:
        return [{"img": bank.views[0], "label": bank.labels[0]}]

    def rates(self, steps: int) -> tuple[Optimizer, Any]:
        """SGD with the learning rates of `build`, constant."""
        return TwoPaces(self), None

    def for_classes(self, names: Sequence[str], which: Sequence[int] = ()) -> "LPPlusPlusHead":
        other = super().for_classes(names, which)
        if other is not self:
            mean = self.alpha.detach().mean().abs()  # below 0 it would reverse the order of new classes
            other._show("alpha", torch.where(self.places(names, which) < 0, mean, other.alpha))
        return other


class TwoPaces(torch.optim.SGD):
    """SGD: a step of weight and bias every time, of alpha every tenth time, by the sum of all its gradients so far.

    The sum never starts again, as in the authors' code, which never clears alpha's gradient.

    Args:
        head: after `build`.
    """

    def __init__(self, head: LPPlusPlusHead):
        rate, of_alpha = head.steepness
        probe = {"params": [head.weight, head.bias], "lr": rate, "momentum": _MOMENTUM}
        super().__init__([probe, {"params": [head.alpha], "lr": of_alpha}], lr=rate)

    def step(self, closure: Callable[[], float] | None = None) -> Any:
        (alpha,) = self.param_groups[1]["params"]
        kept = self.state[alpha]
        kept["steps"] = kept.get("steps", 0) + 1
        kept["sum"] = kept.get("sum", 0) + alpha.grad
        alpha.grad = None if kept["steps"] % _EVERY else kept["sum"].clone()
        return super().step(closure)
