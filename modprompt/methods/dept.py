"""DePT (arXiv 2309.07439): a head on raw features, trained with the prompts of another method and tested with them.

Shapes: B images, C classes, E joint width.
"""

import copy
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from modprompt.clip.towers import CLIP, joint_width
from modprompt.engine.model import Output
from modprompt.engine.schedule import Schedules, Shape
from modprompt.errors import SettingError, UserError
from modprompt.fields import as_config, setting
from modprompt.methods.cocoop import CoCoOp
from modprompt.methods.coop import CoOp
from modprompt.methods.kgcoop import KgCoOp
from modprompt.methods.maple import MaPLe
from modprompt.methods.model import PromptedModel
from modprompt.methods.parts.capabilities import Logging, Only, OwnRate, Repository, SavedAs, Training
from modprompt.methods.parts.learners import HEAD, Classes, Learner, places
from modprompt.methods.parts.losses import Objective, Term, cross_entropy
from modprompt.methods.together import Addition

LINEAR, SIMILARITY = "linear", "similarity"


class ChannelScale(nn.Module):
    """A scale and a bias for each of E channels, float32, applied in the type of the features (..., E)."""

    def __init__(self, width: int):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(width))
        self.bias = nn.Parameter(torch.zeros(width))

    def forward(self, features: Tensor) -> Tensor:
        kind = features.dtype
        return torch.addcmul(self.bias.to(kind), features, self.scale.to(kind))


class JointHead(nn.Module):
    """Scales of both sides' features, and logits from them: by a matrix with a row for each class, or by cosines.

    Its logits count if the training had every class that is told apart; otherwise scaled cosines count alone. Random
    draws: the matrix and its bias, as nn.Linear draws them.

    Args:
        settings: TYPE, FILM, and how its logits count.
        width: E.
        classes: those of the training.
        dtype: of the matrix.
    """

    linear_probe_proj: nn.Linear | None
    rows: Tensor | None

    def __init__(self, settings: "DePT", width: int, classes: Classes, dtype: torch.dtype):
        super().__init__()
        self.weight, self.fuses = settings.weight, settings.test_time_fusion
        self.demands = settings.demand_fusion  # then rows without known names are taken in order
        self.film_lp_img, self.film_lp_text = (
            ChannelScale(width) if settings.film else nn.Identity() for _ in range(2)
        )
        linear = nn.Linear(width, len(classes.names)) if settings.type == LINEAR else None
        self.linear_probe_proj = None if linear is None else linear.to(dtype)
        self.trained_on = self.classes = classes
        self.knows = True  # whether it knows all classes that are told apart
        self.register_buffer("rows", None, persistent=False)  # rows of these classes; None for all, in order

    @property
    def has_rows(self) -> bool:
        """Whether it has rows of single classes."""
        return self.linear_probe_proj is not None

    @property
    def said(self) -> str:
        """Which logits count, in words."""
        if self.knows:
            return f"{1 - self.weight:g} cosine + {self.weight:g} joint head" if self.fuses else "joint head"
        return "cosine"

    def said_of(self, classes: Classes) -> str:
        """Why logits of these classes are only scaled cosines, in a sentence; empty if they are not."""
        if not self.trained_on.names:
            return (
                "The logits are scaled cosine similarities only, because the checkpoint does not record the classes "
                "of its DePT head."
            )
        new = places(self.trained_on, classes).count(-1)
        why = f"the DePT head was not trained on {new} of the {len(classes.names)} classes"
        return f"The logits are scaled cosine similarities only, because {why}." if new else ""

    def learned_on(self, classes: Classes) -> None:
        """Set the classes of the rows; none means that nobody knows, of which it warns.

        Raises:
            UserError: if there are more or fewer rows, or a class has none while that is demanded.
        """
        rows = None if self.linear_probe_proj is None else self.linear_probe_proj.out_features
        if not classes.names and self.demands and rows in (None, len(self.classes.names)):
            classes = self.classes
        if classes.names and rows not in (None, len(classes.names)):
            raise UserError(
                f"The DePT head in this file has {rows} rows, but the file lists {len(classes.names)} classes, so the "
                "file is damaged. Use another copy of the file."
            )
        self.trained_on = classes
        if not classes.names and not self.demands:
            warnings.warn(self.said_of(self.classes), stacklevel=5)
        self._tell_apart(self.classes)

    def for_classes(self, classes: Classes) -> "JointHead":
        """The same parameters, shared, for other classes.

        Raises:
            UserError: as learned_on.
        """
        other = copy.copy(self)
        other.__dict__["_buffers"] = dict(self._buffers)
        other._tell_apart(classes)
        return other

    def _tell_apart(self, classes: Classes) -> None:
        self.classes = classes
        found = places(self.trained_on, classes)
        self.knows, self.rows = -1 not in found, None
        if self.demands and not self.knows:
            raise UserError(
                f"{self.said_of(classes)} Use the classes with which the prompts were trained, or set "
                "TRAINER.DEPT.DEMAND_FUSION to False."
            )
        if self.knows and found != list(range(len(self.trained_on.names))):
            device = next((one.device for one in self.parameters()), None)
            self.rows = torch.tensor(found, device=device)

    def take_sizes(self, state: Mapping[str, Tensor]) -> None:
        """Have as many rows as a checkpoint, since rows belong to its classes; names are the head's."""
        theirs, own = state.get("linear_probe_proj.weight"), self.linear_probe_proj
        if own is None or theirs is None or theirs.dim() != 2:
            return
        for one in (own.weight, own.bias):
            one.data = one.data.new_zeros(len(theirs), *one.shape[1:])
        own.out_features = len(theirs)

    # ------------------------------ features in, logits out

    def each(self, image: Tensor, text: Tensor, cosines: Tensor, scale: Tensor) -> tuple[Tensor, ...]:
        """Scaled cosines, and also its own logits (B, C), if it knows all classes.

        Args:
            image: raw image features (B, E).
            text: raw class features (C, E), or (B, C, E) of single images.
            cosines: the scaled cosines of these (B, C).
            scale: the factor of cosines.
        """
        if not self.knows:
            return (cosines,)
        own = self.film_lp_img(image)
        if self.linear_probe_proj is not None:
            return cosines, self._linear(own)
        own, other = F.normalize(own, dim=-1), F.normalize(self.film_lp_text(text), dim=-1)
        together = scale * own @ other.t() if other.dim() == 2 else scale * (other @ own[:, :, None])[:, :, 0]
        return cosines, together

    def _linear(self, features: Tensor) -> Tensor:
        matrix: Any = self.linear_probe_proj
        features = features.to(matrix.weight.dtype)  # a tower's are float32
        if self.rows is None:
            made: Tensor = matrix(features)
            return made
        return F.linear(features, matrix.weight[self.rows], matrix.bias[self.rows])

    def made_of(self, each: tuple[Tensor, ...]) -> Tensor:
        """The logits that count."""
        if len(each) == 1:
            return each[0]
        cosines, own = each
        return (1 - self.weight) * cosines + self.weight * own if self.fuses else own

    def loss(self, logits: Tensor, text: Tensor, labels: Tensor) -> Tensor:
        """Cross entropy, a float32 scalar, of its logits for images and, with a matrix, for features of their classes.

        DePT, equation 6: the mean over 2 B rows.

        Args:
            logits: its own (B, C).
            text: raw class features (C, E), or (B, C, E) of single images.
            labels: (B,).
        """
        of_images = F.cross_entropy(logits.float(), labels)
        if self.linear_probe_proj is None:
            return of_images
        # a product instead of an index: its backward pass adds up in a fixed order
        mine = (labels[:, None] == torch.arange(text.shape[-2], device=labels.device)).to(text.dtype)  # (B, C)
        rows = mine @ text if text.dim() == 2 else (mine[:, None] @ text)[:, 0]  # (B, E)
        return (F.cross_entropy(self._linear(self.film_lp_text(rows)).float(), labels) + of_images) / 2


@dataclass(frozen=True, repr=False)
class DePT(Addition):
    """DePT: a joint head added to CoOp, CoCoOp, KgCoOp, MaPLe, MPL and PromptSRC; not a method by itself."""

    node = "TRAINER.DEPT"
    prec = ""  # that of the method
    wants_text = False  # it reads the features of both sides, of any kind

    joins: bool = setting(
        False, "adds the DePT head to the prompts of another method if True", key="ON", compared=False
    )
    weight: float = setting(
        0.7,
        "the weight of the loss and the logits of the DePT head; the cross-entropy loss and the cosine "
        "logits of the method have the weight 1 - WEIGHT",
        least=0,
    )
    type: str = setting(
        LINEAR,
        "the type of the DePT head: linear has a weight vector for each class, similarity uses cosine similarities",
        choices=(LINEAR, SIMILARITY),
    )
    film: bool = setting(
        True, "scales and shifts each channel of the image and text features before the DePT head if True"
    )
    test_time_fusion: bool = setting(
        True,
        "tests with the weighted sum of both logits if True, and otherwise with the logits of the DePT head; "
        "classes without a row in the head always use cosine logits",
        compared=False,
    )
    demand_fusion: bool = setting(
        False,
        "rejects classes without a row in the DePT head, instead of testing them with cosine logits only, if "
        "True; if a checkpoint does not record its classes, its rows count in their order",
        compared=False,
    )
    lr_exp: float = setting(
        6.5, "the factor on the learning rate of the DePT head and its scales", least=0, compared=False
    )

    def check(self) -> None:
        if self.weight > 1:
            raise SettingError([("WEIGHT", f" must be at most 1, got {self.weight:g}.")])

    def schedules(self, shape: Shape) -> Schedules:
        raise UserError(
            "DePT cannot be used alone. Add DePT to a prompt-learning method, for example "
            "DePT().over(modprompt.CoOp())."
        )

    def join(self, learner: Learner, again: Callable[[], Learner], clip_model: CLIP, classes: Classes) -> Learner:
        """A method's learner with a head.

        Raises:
            SettingError: if a class has several prompts.
        """
        if learner.pooling is not None:
            raise SettingError(
                [
                    (
                        "ON",
                        " does not work with phrases (ASPATH, AEPATH), because the DePT "
                        "head needs a single text feature per class.",
                    )
                ]
            )
        learner.joint_head = JointHead(self, joint_width(clip_model), classes, clip_model.dtype)
        learner.trained_on = classes.names
        learner.in_clip_type = (*learner.in_clip_type, f"{HEAD}linear_probe_proj.")
        return learner

    def objective_beside(self, objective: Objective, model: PromptedModel) -> Objective:
        """The method's terms on its own logits, with its cross entropy weighted, and the head's loss.

        Raises:
            UserError: if the head has no rows of the model's classes.
        """
        head: JointHead = model.prompt_learner.joint_head
        if head.rows is not None or not head.knows:
            raise UserError(
                "DePT cannot be trained on a model that .with_classes returned, because the DePT head was made for "
                "the original classes. Use the loss of the original model, or make a new model with .on(clip_model, "
                "names)."
            )
        terms = [
            Term(name, weight * (1 - self.weight) if of is cross_entropy else weight, partial(_on_cosines, of))
            for name, weight, of in objective.terms
        ]
        own, rule = Term("joint head", self.weight, partial(_head_entropy, head)), objective.rule
        if rule is not None:
            rule = replace(rule, other=partial(_on_cosines, rule.other))
        return objective._replace(terms=(*terms, own), rule=rule)

    @property
    def training_beside(self) -> Training:
        learns = self.film or self.type == LINEAR
        return Training(rates=(OwnRate((HEAD,), self.lr_exp, in_warm_up=False),) if learns else ())

    def known_by(self) -> str:
        """Its settings, without those that affect only training or tests."""
        said = ((one.key, as_config(getattr(self, one.field))) for one in self.settings() if one.compared)
        return f"DePT({', '.join(f'{key} {value}' for key, value in said)})"


def _on_cosines(of: Any, output: Output, images: Tensor, labels: Tensor) -> Tensor:
    """A term of the method's objective, which sees the logits that there would be without a head."""
    return cast(Tensor, of(output._replace(logits=output.each[0]), images, labels))


def _head_entropy(head: JointHead, output: Output, images: Tensor, labels: Tensor) -> Tensor:
    return head.loss(output.each[1], output.raw[1], labels)


_SHARED: Mapping[str, str | Only] = {
    **{f"TRAINER.LINEAR_PROBE.{key}": f"{DePT.node}.{key}" for key in ("TYPE", "WEIGHT", "TEST_TIME_FUSION")},
    "TRAINER.FILM.LINEAR_PROBE": f"{DePT.node}.FILM",
    "OPTIM.LR_EXP": f"{DePT.node}.LR_EXP",
    "OPTIM.STAGED_LR": Only("True"),
    "OPTIM.BASE_LR_MULT": Only("1.0"),
}


@dataclass(frozen=True, repr=False)
class ExtrasLinearProbeCoOp(CoOp):
    """CoOp with DePT's head, under its repository's name; also on ResNets."""

    node = CoOp.node
    saved_as = SavedAs("PromptLearner")
    logging = Logging()
    repository = Repository(shared=_SHARED)
    joined_by: ClassVar[Any] = DePT()


@dataclass(frozen=True, repr=False)
class ExtrasLinearProbeCoCoOp(CoCoOp):
    """CoCoOp with DePT's head, under its repository's name; also on ResNets."""

    node = CoCoOp.node
    saved_as = SavedAs("PromptLearner")
    repository = Repository(shared=_SHARED)
    joined_by: ClassVar[Any] = DePT()


@dataclass(frozen=True, repr=False)
class ExtrasLinearProbeKgCoOp(KgCoOp):
    """KgCoOp with DePT's head, under its repository's name; also on ResNets."""

    node = KgCoOp.node
    saved_as = SavedAs("PromptLearner")
    logging = Logging()
    repository = Repository(shared={**KgCoOp.repository.shared, **_SHARED})
    joined_by: ClassVar[Any] = DePT()


@dataclass(frozen=True, repr=False)
class ExtrasLinearProbeMaPLe(MaPLe):
    """MaPLe with DePT's head, under its repository's name."""

    node = MaPLe.node
    repository = Repository(shared=_SHARED)
    joined_by: ClassVar[Any] = DePT()
