"""Linear probes whose weights replace class features, and CLAP's penalty on their distance from the text.

ZS-LP and CLAP: arXiv 2312.12730. Shapes: V views, N training images, B images, C classes, T templates, D joint width.
"""

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from modprompt.errors import UserError
from modprompt.methods.heads.bank import Bank, are_others, cosines, images_of, mean_text
from modprompt.methods.heads.base import TEST, TRAIN, Head
from modprompt.methods.heads.fitting import PermutedViews

RANDOM, TEXT, RESIDUAL = "random", "text", "residual"  # what P starts from; RESIDUAL adds it to the text
HOW = BALANCED, CONSTANT, CORRECTED, ADAPTATIVE = "balanced", "constant", "corrected", "adaptative"


def multipliers(bank: Bank, text: Tensor, scale: Tensor, how: str) -> Tensor:
    """The first weight of CLAP's penalty for each class (C,): the mean, over its images, of its zero-shot probability.

    Args:
        bank: of the training images; all views count.
        text: raw class features (C, D).
        scale: of the logits.
        how: with BALANCED in it 1, with CORRECTED scaled to a mean of 1, with CONSTANT the mean for all classes.
    """
    if BALANCED in how:
        return text.new_ones(len(text))
    labels = bank.labels.flatten()
    right = torch.softmax(scale * cosines(bank.views.flatten(0, 1), text), 1).gather(1, labels[:, None])[:, 0]
    images = images_of(labels, len(text)).clamp(min=1)
    sure = text.new_zeros(len(text)).index_add_(0, labels, right) / images
    if CORRECTED in how:
        sure = sure * (len(sure) / sure.sum())
    return sure.mean().expand_as(sure).clone() if CONSTANT in how else sure


class PrototypesHead(Head):
    """s f.norm(P), with P (C, D) by `starts`: Kaiming's normal, the mean text t, or t + a X with X from zeros on.

    With a constraint, the mean over classes of lambda_c |P_c - t_c|^2 is added to the loss. For a class that it was not
    made for, P is its text.

    Args:
        names: of the C classes.
        width: D.
        starts: RANDOM, TEXT or RESIDUAL.
        constraint: "" for no penalty; else how its multipliers are computed, with ADAPTATIVE new ones each epoch.
        scale: a.
    """

    encodes = (TEST, TRAIN)
    in_order = False
    rows = {"prototypes": 0, "base_text_features": 0}
    reads_text = True
    moves = False
    may_lack: ClassVar[tuple[str, ...]] = ("multipliers", "rho")
    prototypes: nn.Parameter
    base_text_features: Tensor
    logit_scale: Tensor
    multipliers: Tensor
    rho: Tensor
    absent: Tensor

    def __init__(self, names: Sequence[str], width: int, starts: str, constraint: str = "", scale: float = 1.0):
        super().__init__(names)
        self.starts, self.constraint, self.scale = starts, constraint, scale
        first = torch.zeros(len(names), width)
        self.prototypes = nn.Parameter(nn.init.kaiming_normal_(first) if starts == RANDOM else first)
        self.register_buffer("base_text_features", torch.zeros(len(names), width))
        self.register_buffer("logit_scale", torch.zeros(()))
        for name in self.may_lack if constraint else ():
            self.register_buffer(name, torch.empty(0))  # until it is built
        self.register_buffer("absent", torch.zeros(len(names), dtype=torch.bool), persistent=False)  # not made for

    def build(self, bank: Bank, scale: Tensor) -> None:
        """Compute the prototypes from the text, and the multipliers of the penalty."""
        text = mean_text(bank.text)
        self._put("base_text_features", text)
        self._put("logit_scale", scale.detach().log())
        if self.starts == TEXT:
            self._put("prototypes", text.clone())
        if self.constraint:
            self.multipliers = multipliers(bank, text, scale, self.constraint)
            self.rho = torch.zeros_like(self.multipliers)

    def forward(self, image: Tensor, text: Tensor, scale: Tensor) -> Tensor:
        return scale * cosines(image, self._weights(text))

    def _weights(self, text: Tensor) -> Tensor:
        if self.starts == RESIDUAL:
            return text + self.scale * self.prototypes
        return torch.where(self.absent[:, None], text, self.prototypes)

    def _distances(self) -> Tensor:
        """|P_c - t_c|^2 (C,), raw."""
        moved = self._weights(self.base_text_features) - self.base_text_features
        return moved.square().sum(-1)

    def batches(self, bank: Bank, size: int) -> PermutedViews:
        """All views, permuted; an epoch has as many samples as there are images."""
        return PermutedViews.of(bank, size)

    def penalty(self) -> Tensor:
        """The mean over classes of lambda_c |P_c - t_c|^2.

        Raises:
            UserError: if lambda is unknown.
        """
        return (self._known_multipliers() * self._distances()).mean() if self.constraint else super().penalty()

    def _known_multipliers(self) -> Tensor:
        if not len(self.multipliers):
            raise UserError(
                f"the weights of CONSTRAINT {self.constraint} are missing: the head is not built yet, or its file "
                "is from another codebase, which keeps none: it can predict, but not be trained"
            )
        return self.multipliers

    def end_epoch(self) -> None:
        """With ADAPTATIVE: lambda becomes max(lambda + rho d, 0), and rho becomes d, the current distances."""
        if ADAPTATIVE in self.constraint:
            distances = self._distances().detach()
            self.multipliers = (self._known_multipliers() + self.rho * distances).clamp(min=0)
            self.rho = distances

    def is_of_others(self, text: Tensor) -> bool:
        return are_others(self.base_text_features, text)

    def for_classes(self, names: Sequence[str], which: Sequence[int] = ()) -> "PrototypesHead":
        other = super().for_classes(names, which)
        if other is not self:
            other._show("absent", self.places(names, which) < 0)
        return other

    def fault(self) -> str:
        """Each class needs a multiplier, where there are any."""
        sizes = {len(getattr(self, name)) for name in self.may_lack if self.constraint}
        return "" if sizes <= {0} or sizes == {len(self.names)} else f"it has {max(sizes)} multipliers"
