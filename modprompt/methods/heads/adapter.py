"""CLAP, ZS-LP (arXiv 2312.12730) and the heads that their authors compare with: one trainer, chosen by INIT.

Shapes: V views, N training images, B images, C classes, T templates, D joint width.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from modprompt.errors import SettingError, UserError
from modprompt.fields import setting
from modprompt.methods.heads.base import (
    TEST,
    TRAIN,
    Bank,
    Head,
    PermutedViews,
    are_others,
    cosines,
    images_of,
    mean_text,
    unit,
)
from modprompt.methods.heads.clip_adapter import CLIPAdapterHead
from modprompt.methods.heads.method import EnhancedBase, Grid, SearchedHead
from modprompt.methods.heads.tip_adapter import TipAdapterHead
from modprompt.methods.parts.capabilities import Logging, SavedAs

_SEARCH, _TRAINED = "grid_search", "-f-"  # further words in INIT
_TASK_RESIDUAL = 0.5
RANDOM, TEXT, RESIDUAL = "random", "text", "residual"  # what P starts from; RESIDUAL adds it to the text
HOW = BALANCED, CONSTANT, CORRECTED, ADAPTATIVE = "balanced", "constant", "corrected", "adaptative"
_OF_ALL = ("prototypes", "base_text_features", "logit_scale")  # in the reference's checkpoints of all its heads


@dataclass(frozen=True, repr=False)
class ADAPTER(EnhancedBase, SearchedHead):
    """The head that INIT names, kept near the text by CONSTRAINT: ZS with none is ZS-LP, with l2 it is CLAP."""

    node = "TRAINER.ADAPTER"
    saved_as = SavedAs("adapter")
    logging = Logging(accuracy=True)

    init: str = setting(
        "ZS",
        "the initialization of the head: RANDOM, ZS, TR, ClipA or TipA; TipA-f- also trains the keys, and "
        "TipA with grid_search searches alpha and beta",
    )
    constraint: str = setting(
        "l2",
        "the constraint on the class weights: none, or l2 for the distance to the text features in the loss; "
        "the additional words balanced, constant, corrected and adaptative select its multipliers",
        compared=False,
    )
    views: int = setting(
        20, "the number of augmented passes over the training images, all of which are stored", least=1
    )
    as_published: bool = setting(
        False, "computes the affinities of TipA from unnormalized features, as in the original code, if True"
    )

    def check(self) -> None:
        super().check()
        faults, held = [], self.held()
        if not self.kind:
            faults.append(("INIT", f" must be one of {', '.join(_HEADS)}, got {self.init!r}."))
        elif _SEARCH in self.init and self.kind != "TipA":
            faults.append(
                (
                    "INIT",
                    f" {self.init} is not supported, because only TipA has a search. Set the hyperparameters of "
                    f"{self.kind} explicitly.",
                )
            )
        if held and ("l2" not in held or re.sub("|".join(("l2", *HOW, "[-_+ ,]")), "", held)):
            allowed = f"none, or l2 and any of {', '.join(HOW)}, for example l2-balanced"
            faults.append(("CONSTRAINT", f" must be {allowed}, got {held!r}."))
        elif held and self.kind in ("ClipA", "TipA"):
            faults.append(("CONSTRAINT", f" must be none with INIT {self.init}, which does not train class features."))
        if faults:
            raise SettingError(faults)

    @property
    def kind(self) -> str:
        """The head that INIT names; empty if there is none."""
        return next((one for one in _HEADS if (one == self.init if one == "RANDOM" else one in self.init)), "")

    def head(self, names: Sequence[str], width: int) -> Head:
        return _HEADS[self.kind](self, names, width)

    def held(self) -> str:
        """CONSTRAINT; empty for none."""
        return "" if self.constraint == "none" else self.constraint

    def passes(self) -> int:
        return self.views

    @classmethod
    def chooses_by(cls, settings: Mapping[str, Any]) -> str:
        return super().chooses_by(settings) if _SEARCH in settings["INIT"] else ""

    def grid(self) -> Grid | None:
        return super().grid() if _SEARCH in self.init else None


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


class _OnAllViews(Head):
    """A head that is trained on all views of a bank, permuted; an epoch has as many samples as there are images."""

    encodes: tuple[str, ...] = (TEST, TRAIN)

    def batches(self, bank: Bank, size: int) -> Any:
        return PermutedViews(bank, size)


class PrototypesHead(_OnAllViews):
    """s f.norm(P), with P (C, D) by `starts`: Kaiming's normal, the mean text t, or t + a X with X from zeros on.

    With a constraint, the mean over classes of lambda_c |P_c - t_c|^2 is added to the loss. For a class that it was not
    made for, P is its text.

    Args:
        starts: RANDOM, TEXT or RESIDUAL.
        constraint: "" for no penalty; else how its multipliers are computed, with ADAPTATIVE new ones each epoch.
        scale: a.
    """

    in_order = False
    rows = {"prototypes": 0, "base_text_features": 0, "known": 0}
    reads_text = True
    moves = False
    may_lack = ("multipliers", "rho")
    prototypes: nn.Parameter
    base_text_features: Tensor
    logit_scale: Tensor
    multipliers: Tensor
    rho: Tensor
    known: Tensor  # whether it was made for the class

    def __init__(self, names: Sequence[str], width: int, starts: str, constraint: str = "", scale: float = 1.0):
        super().__init__(names)
        self.starts, self.constraint, self.scale = starts, constraint, scale
        self.needs_text = starts != RANDOM or bool(constraint)
        first = torch.zeros(len(names), width)
        self.prototypes = nn.Parameter(nn.init.kaiming_normal_(first) if starts == RANDOM else first)
        self.register_buffer("base_text_features", torch.zeros(len(names), width))
        self.register_buffer("logit_scale", torch.zeros(()))
        for name in self.may_lack if constraint else ():
            self.register_buffer(name, torch.empty(0))  # until it is built
        self.register_buffer("known", torch.ones(len(names), dtype=torch.bool), persistent=False)

    def build(self, bank: Bank, scale: Tensor) -> None:
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
        return torch.where(self.known[:, None], self.prototypes, text)

    def _distances(self) -> Tensor:
        """|P_c - t_c|^2 (C,), raw."""
        moved = self._weights(self.base_text_features) - self.base_text_features
        return moved.square().sum(-1)

    def penalty(self) -> Tensor:
        return (self._known_multipliers() * self._distances()).mean() if self.constraint else super().penalty()

    def _known_multipliers(self) -> Tensor:
        if not len(self.multipliers):
            raise UserError(
                f"The multipliers of CONSTRAINT {self.constraint} are missing. Either the head is not built yet, or "
                "its checkpoint comes from another codebase, which does not store the multipliers. Such a head can "
                "predict, but cannot be trained."
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

    def fault(self) -> str:
        sizes = {len(getattr(self, name)) for name in self.may_lack if self.constraint}
        return (
            ""
            if sizes <= {0} or sizes == {len(self.names)}
            else f"the number of multipliers is {max(sizes)}, not the number of classes"
        )


class _Compared(_OnAllViews):
    """A head whose checkpoints also have class features."""

    def rates(self, steps: int) -> None:
        """None: the configured ones."""

    def take(self, state: Mapping[str, Any], path: str) -> None:
        super().take({name: tensor for name, tensor in state.items() if name not in _OF_ALL}, path)


class ClipA(_Compared, CLIPAdapterHead):
    """CLIP-Adapter, with its network named `mlp`."""

    in_order = False

    def __init__(self, names: Sequence[str], width: int):
        super().__init__(names, width, 0.2, 4, "mlp")


class TipA(_Compared, TipAdapterHead):
    """Tip-Adapter with alpha = beta = 1; with `trained` its keys are trained at the configured learning rate.

    published: as the authors run it: affinities of raw features, the mean of raw class features, and training on the
        cached features themselves, where the loss is about 0.
    """

    keeps_rest = False

    def __init__(self, names: Sequence[str], width: int, trained: bool, published: bool):
        super().__init__(names, width, 1.0, 1.0, 0.0 if trained else None)
        self.published = published

    def batches(self, bank: Bank, size: int) -> PermutedViews:
        mean = Bank(bank.views.mean(0, keepdim=True), bank.labels[:1], bank.text)
        return PermutedViews(mean if self.published else bank, size)

    def pooled(self, text: Tensor) -> Tensor:
        """Class features (C, D), of length 1 unless `published`."""
        return mean_text(text) if self.published else super().pooled(text)

    def affinity(self, image: Tensor) -> Tensor:
        """(B, N) of raw image features (B, D) with the keys."""
        return image @ unit(self.keys).t() if self.published else super().affinity(image)


_HEADS: dict[str, Callable[[ADAPTER, Sequence[str], int], Head]] = {  # in the order in which INIT is searched
    "RANDOM": lambda one, names, width: PrototypesHead(names, width, RANDOM, one.held()),
    "ZS": lambda one, names, width: PrototypesHead(names, width, TEXT, one.held()),
    "TR": lambda one, names, width: PrototypesHead(names, width, RESIDUAL, one.held(), _TASK_RESIDUAL),
    "ClipA": lambda one, names, width: ClipA(names, width),
    "TipA": lambda one, names, width: TipA(names, width, _TRAINED in one.init, one.as_published),
}
