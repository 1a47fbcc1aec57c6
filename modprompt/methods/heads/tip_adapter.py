"""Tip-Adapter and Tip-Adapter-F (arXiv 2207.09519): a cache of the training images, fixed or with keys trained.

Shapes: B images, C classes, N training images, V views, T templates, D joint width.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR

from modprompt.fields import setting
from modprompt.methods.heads.base import TEST, TRAIN, VAL, Bank, Head, cosines, unit, unit_mean_text
from modprompt.methods.heads.method import FreshViewsHead, Grid, SearchedHead
from modprompt.methods.parts.capabilities import Logging, SavedAs

_LEAST = 0.1


class Found(NamedTuple):
    """What a search found.

    Attributes:
        beta: sharpness of the affinities.
        alpha: weight of the cache.
        correct: how many of the images are classified correctly with them.
        images: how many there are.
    """

    beta: float
    alpha: float
    correct: int
    images: int


def _values(most: float, steps: int) -> list[float]:
    return [i * (most - _LEAST) / steps + _LEAST for i in range(steps)]


def search(logits: Tensor, affinity: Tensor, values: Tensor, labels: Tensor, grid: Grid) -> Found:
    """The beta and alpha with the most correct images; the first of equals, beta in the outer loop.

    Source: Tip-Adapter (arXiv 2207.09519): logits + alpha exp(-beta (1 - affinity)) values.

    Args:
        logits: without the cache (B, C).
        affinity: cosines of the images with the cached ones (B, N).
        values: classes of the cached images (N, C).
        labels: of the images (B,).
        grid: the values to try.
    """
    best = Found(0.0, 0.0, -1, len(labels))
    for beta in _values(grid.most_beta, grid.betas):
        cache = torch.mul(affinity, beta).sub_(beta).exp_() @ values  # in one buffer: it is as large as the affinities
        for alpha in _values(grid.most_alpha, grid.alphas):
            correct = int(((logits + cache * alpha).argmax(1) == labels).sum())
            if correct > best.correct:
                best = Found(beta, alpha, correct, len(labels))
    return best


_EPS = 1e-4  # of AdamW, as in the reference


@dataclass(frozen=True, repr=False)
class TipAdapter(SearchedHead, FreshViewsHead):
    """A cache of the training images in addition to zero-shot CLIP; nothing is trained."""

    node = "TRAINER.TIPADAPTER"
    saved_as = SavedAs("tip_adapter")

    init_alpha: float = setting(
        1.0, "the weight of the cache (alpha), or its initial value before the search", least=0, compared=False
    )
    init_beta: float = setting(
        1.0, "the sharpness of the affinities (beta), or its initial value before the search", least=0, compared=False
    )
    augment_epoch: int = setting(
        10,
        "the number of augmented passes over the training images; the keys of the cache are the mean features",
        least=1,
    )
    train_epoch: int = setting(20, "the number of training epochs of Tip-Adapter-F", least=1, compared=False)
    lr: float = setting(0.001, "the learning rate of Tip-Adapter-F", least=0, compared=False)
    best_epoch_on: str = setting(
        "",
        "the images that select the best epoch of Tip-Adapter-F: test as in the original code; empty uses "
        "the last epoch",
        choices=("", TEST),
    )

    def head(self, names: Sequence[str], width: int) -> "TipAdapterHead":
        return TipAdapterHead(names, width, self.init_alpha, self.init_beta)

    def passes(self) -> int:
        return self.augment_epoch

    def best_on(self) -> str:
        return self.best_epoch_on


@dataclass(frozen=True, repr=False)
class TipAdapterF(TipAdapter):
    """The same cache, with its keys trained; it reads Tip-Adapter's settings."""

    node = "TRAINER.TIPADAPTER"
    logging = Logging(accuracy=True)

    def head(self, names: Sequence[str], width: int) -> "TipAdapterHead":
        return TipAdapterHead(names, width, self.init_alpha, self.init_beta, self.lr)

    def epochs(self, configured: int) -> int:
        return self.train_epoch


class TipAdapterHead(Head):
    """s f.w + alpha exp(-beta (1 - f K^T)) V: keys K (N, D) of the training images, their classes V (N, C).

    Args:
        alpha: weight of the cache, before any search.
        beta: sharpness of affinities, before any search.
        lr: learning rate of the keys; None for a cache that is not trained.
    """

    encodes: tuple[str, ...] = (TRAIN, VAL, TEST)
    from_bank = ("keys", "values")
    seeds_anew = True
    keeps_rest = True
    on_clip_scale = False
    rows = {"values": 1}
    keys: nn.Parameter
    values: Tensor
    alpha: Tensor
    beta: Tensor

    def __init__(self, names: Sequence[str], width: int, alpha: float, beta: float, lr: float | None = None):
        super().__init__(names)
        self.trains, self.lr = lr is not None, lr or 0.0
        self.keys = nn.Parameter(torch.empty(0, width), requires_grad=self.trains)
        self.register_buffer("values", torch.empty(0, len(names)))
        self.register_buffer("alpha", torch.tensor(alpha, dtype=torch.float64))
        self.register_buffer("beta", torch.tensor(beta, dtype=torch.float64))

    def build(self, bank: Bank, scale: Tensor) -> None:
        """The keys are the mean over views of raw features, then normalised; of length 1 until they are trained."""
        keys = unit(bank.views.mean(0))
        if self.trains:
            nn.Linear(keys.shape[1], keys.shape[0], bias=False)  # the reference's; later draws depend on it
        self._put("keys", keys)
        self._put("values", F.one_hot(bank.labels[0], len(self.names)).to(keys))

    def pooled(self, text: Tensor) -> Tensor:
        return unit_mean_text(text)

    def affinity(self, image: Tensor) -> Tensor:
        """Cosines (B, N) of raw image features (B, D) with the keys, while these have length 1."""
        return unit(image) @ self.keys.t()

    def forward(self, image: Tensor, text: Tensor, scale: Tensor) -> Tensor:
        cache = (-(self.beta - self.beta * self.affinity(image))).exp() @ self.values
        return scale * cosines(image, text) + cache * self.alpha

    def rates(self, steps: int) -> tuple[Optimizer, Any] | None:
        """AdamW, with a cosine learning rate to 0 over all steps."""
        optimiser = AdamW([self.keys], lr=self.lr, eps=_EPS)
        return optimiser, CosineAnnealingLR(optimiser, steps)

    def search(self, image: Tensor, plain: Tensor, labels: Tensor, grid: Grid) -> Found:
        """Search for alpha and beta on validation images, and keep them.

        Args:
            image: raw features (N, D).
            plain: logits (N, C) of these without a head: scaled cosines with the class features.
            labels: (N,).
            grid: the values to try.
        """
        with torch.no_grad():
            found = search(plain, self.affinity(image), self.values, labels, grid)
        self.alpha, self.beta = self.alpha.new_tensor(found.alpha), self.beta.new_tensor(found.beta)
        return found

    def fault(self) -> str:
        """Each key needs a class."""
        if self.keys.shape != (len(self.values), self.keys.shape[1]) or self.values.shape[1] != len(self.names):
            return (
                f"the keys have the shape {tuple(self.keys.shape)} and the values "
                f"{tuple(self.values.shape)}, but there are {len(self.names)} classes"
            )
        return ""
