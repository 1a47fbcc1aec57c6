"""MMRL++ (arXiv 2505.10088): MMRL with projections shared by layers except for a low rank, and mixed tokens.

Shapes: n tokens, R their width, r and p ranks, W the width of a side, V that of the vision side, E joint width.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from modprompt.clip.build import draw_inside
from modprompt.clip.sides import image_width, joint_width
from modprompt.clip.structure import CLIP
from modprompt.engine.read_out import MeanTokens
from modprompt.engine.token_updates import Mixed
from modprompt.errors import SettingError
from modprompt.fields import setting
from modprompt.methods.mmrl import CROSS, MMRL, RepresentationLearner
from modprompt.methods.parts.capabilities import Logging, Results, RunFacts

_MOST_RANK = 1 << 12
PUBLISHED = {  # for base-to-new and few-shot runs, as for MMRL
    "ImageNet": {"BETA": 0.9, "REG_WEIGHT": 0.2},
    "FGVCAircraft": {"BETA": 0.9, "REG_WEIGHT": 2.0},
    "UCF101": {"BETA": 0.9, "REG_WEIGHT": 3.0},
    "DescribableTextures": {"BETA": 0.9, "REG_WEIGHT": 7.0},
    "OxfordPets": {"BETA": 0.7, "REG_WEIGHT": 0.01},
    "StanfordCars": {"BETA": 0.7, "REG_WEIGHT": 6.0},
    "Caltech101": {"BETA": 0.6, "REG_WEIGHT": 3.0},
    "SUN397": {"BETA": 0.5, "REG_WEIGHT": 3.0},
    "OxfordFlowers": {"BETA": 0.4, "REG_WEIGHT": 7.0},
    "EuroSAT": {"BETA": 0.2, "REG_WEIGHT": 0.01},
    "Food101": {"BETA": 0.1, "REG_WEIGHT": 1.0},
}
PUBLISHED_CROSS = {"ImageNet": {"BETA": 0.9, "REG_WEIGHT": 0.1}}  # for the training of cross-data-set runs
PUBLISHED_TARGETS = {  # BETA of their tests, tuned on the targets
    "ImageNetV2": 0.9,
    "ImageNetR": 0.9,
    "ImageNetA": 0.8,
    "ImageNetSketch": 0.7,
    "FGVCAircraft": 0.9,
    "UCF101": 0.9,
    "SUN397": 0.7,
    "OxfordPets": 0.6,
    "Caltech101": 0.6,
    "DescribableTextures": 0.5,
    "OxfordFlowers": 0.4,
    "StanfordCars": 0.3,
    "EuroSAT": 0.3,
    "Food101": 0.3,
}


@dataclass(frozen=True, repr=False)
class MMRLpp(MMRL):
    """MMRL++: MMRL with low-rank projections, and tokens that are mixed with those that they replace."""

    node = "TRAINER.MMRLpp"
    logging = Logging(accuracy=True)
    published = PUBLISHED

    beta: float = setting(0.9, "share of a layer's new tokens in the mix with those that they replace", least=0)
    test_beta: float = setting(
        0.0, "another BETA in tests, tuned on them, so results are marked; 0: BETA", least=0, compared=False
    )
    proj_lora_dim: int = setting(64, "rank of what is added to CLIP's image projection", least=1, most=_MOST_RANK)
    res_lora_dim: int = setting(4, "rank of what a layer adds to the shared projection", least=1, most=_MOST_RANK)

    def check(self) -> None:
        super().check()
        for key, value in (("BETA", self.beta), ("TEST_BETA", self.test_beta)):
            if value > 1:
                raise SettingError([(key, f" must be at most 1, got {value}")])

    @property
    def learner_class(self) -> type[RepresentationLearner]:
        return LowRankRepresentationLearner

    @property
    def share(self) -> float:
        """The share of a layer's new tokens."""
        return self.test_beta or self.beta

    @property
    def results(self) -> Results:
        return Results(mark="tuned on test" if self.test_beta else "")  # chosen by its images

    @classmethod
    def published_for(cls, task: str, facts: RunFacts) -> Mapping[str, Any]:
        """As in MMRL; for a cross-data-set test TEST_BETA."""
        if task != CROSS:
            return super().published_for(task, facts)
        found: dict[str, Any] = dict(PUBLISHED_CROSS.get(facts.dataset, {}))
        if facts.tests and facts.dataset in PUBLISHED_TARGETS:
            found["TEST_BETA"] = PUBLISHED_TARGETS[facts.dataset]
        return found


class LowRank(nn.Module):
    """What a layer adds to a shared projection (W, R): A B, and a bias of its own; draws A.

    Args:
        shared: the projection's first values.
        rank: r.
    """

    def __init__(self, shared: nn.Linear, rank: int):
        super().__init__()
        width, dim = shared.weight.shape
        self.A = nn.Parameter(_uniform(width, rank))
        self.B = nn.Parameter(torch.zeros(rank, dim))
        self.bias = nn.Parameter(shared.bias.detach().clone())


class SharedProjection(nn.Module):
    """A projection (W, R) of tokens for all layers, and what each adds to it.

    Args:
        shared: its first values.
        layers: their number.
        rank: of what each layer adds.
    """

    def __init__(self, shared: nn.Linear, layers: int, rank: int):
        super().__init__()
        self.weight = nn.Parameter(shared.weight.detach().clone())
        self.srra = nn.ModuleList(LowRank(shared, rank) for _ in range(layers))

    def forward(self, tokens: Tensor) -> list[Tensor]:
        """(n, W) for each layer, from tokens (n, R)."""
        owns: Sequence[Any] = list(self.srra)
        return [F.linear(tokens, self.weight + own.A @ own.B, own.bias) for own in owns]


class LowRankRepresentationLearner(RepresentationLearner):
    """MMRL++'s: projections that a side's layers share but for a low rank, and CLIP's own plus a low rank to read out.

    Random draws as in RepresentationLearner, with A in place of the read-out's projection; at the end the layers' A,
    the vision side's first.
    """

    settings: MMRLpp

    @property
    def images_by(self) -> str:  # type: ignore[override]
        """The share of new tokens, which may differ in tests."""
        return f"{self.settings.share:g} of new tokens"

    def _draw_read_out(self, clip_model: CLIP) -> None:
        rank = self.settings.proj_lora_dim
        width, joint = image_width(clip_model), joint_width(clip_model)
        drawn = [draw_inside(clip_model, lambda: _uniform(width, rank)) for _ in range(2)]
        self.A, self.B = nn.Parameter(drawn[0]), nn.Parameter(torch.zeros(rank, joint))

    def _make_projections(self, to_vision: nn.Linear, to_text: nn.Linear, layers: int) -> None:
        self.srra_r2vproj = SharedProjection(to_vision, layers, self.settings.res_lora_dim)
        self.srra_r2tproj = SharedProjection(to_text, layers, self.settings.res_lora_dim)

    def _projected(self) -> tuple[list[Any], list[Any]]:
        sides = self.srra_r2tproj, self.srra_r2vproj
        text, vision = (self._mixed(side(self.compound_rep_tokens)) for side in sides)
        return text, vision

    def _mixed(self, each: list[Tensor]) -> list[Any]:
        share = self.settings.beta if self.training else self.settings.share  # TEST_BETA is for tests
        return each if share == 1 else [each[0], *(Mixed(tokens, share) for tokens in each[1:])]

    def _read(self) -> MeanTokens:
        return MeanTokens(self.A @ self.B, added=True)


def _uniform(rows: int, rank: int) -> Tensor:
    """(rows, rank), drawn between +-rank^-0.5."""
    return nn.init.kaiming_uniform_(torch.zeros(rows, rank), a=math.sqrt(5))
