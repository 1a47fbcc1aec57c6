"""DePT (arXiv 2309.07439): a head on raw features, trained with the prompts of another method and tested with them.

Shapes: B images, C classes.
"""

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, cast

import torch
from torch import Tensor

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
from modprompt.methods.parts.capabilities import Logging, Only, OwnRate, Repository, Training
from modprompt.methods.parts.classes import Classes
from modprompt.methods.parts.joint_head import LINEAR, SIMILARITY, JointHead
from modprompt.methods.parts.learner import Learner
from modprompt.methods.parts.objective import Objective, Rule, Term, cross_entropy
from modprompt.methods.together import Addition


@dataclass(frozen=True, repr=False)
class DePT(Addition):
    """DePT: a joint head added to CoOp, CoCoOp, KgCoOp, MaPLe, MPL and PromptSRC; not a method by itself."""

    node = "TRAINER.DEPT"
    prec = ""  # that of the method
    wants_text = False  # it reads the features of both sides, of any kind

    joins: bool = setting(False, "whether the method gets the head beside its prompts", key="ON", compared=False)
    weight: float = setting(
        0.7, "weight of the head's loss and logits; the method's cross entropy and cosines have 1 - weight", least=0
    )
    type: str = setting(
        LINEAR, "its logits: by a matrix with a row for each class, or by cosines", choices=(LINEAR, SIMILARITY)
    )
    film: bool = setting(True, "whether each channel of both features gets a scale and a bias before the head")
    test_time_fusion: bool = setting(
        True, "whether logits are a weighted sum of both; else the head's, if it knows all classes", compared=False
    )
    demand_fusion: bool = setting(
        False,
        "whether classes without a row are refused, not tested by cosines alone; rows of a file that does not say "
        "its classes then count in order",
        compared=False,
    )
    lr_exp: float = setting(6.5, "factor on the learning rate of the head and the scales", least=0, compared=False)

    def check(self) -> None:
        if self.weight > 1:
            raise SettingError([("WEIGHT", f" must be at most 1, got {self.weight:g}")])

    def schedules(self, shape: Shape) -> Schedules:
        """Refused: UserError."""
        raise UserError("DePT is added to the prompts of a method: DePT().over(modprompt.CoOp())")

    def join(self, learner: Learner, again: Callable[[], Learner], clip_model: CLIP, classes: Classes) -> Learner:
        """A method's learner with a head.

        Raises:
            SettingError: if a class has several prompts.
        """
        if learner.pooling is not None:
            raise SettingError([("ON", " does not work with phrases: the head needs one feature for each class")])
        head = JointHead(
            joint_width(clip_model),
            classes,
            self.type,
            self.film,
            self.weight,
            self.test_time_fusion,
            self.demand_fusion,
            clip_model.dtype,
        )
        learner.take_head(head)
        return learner

    def objective_beside(self, objective: Objective, model: PromptedModel) -> Objective:
        """The method's terms on its own logits, with its cross entropy weighted, and the head's loss.

        Raises:
            UserError: if the head has no rows of the model's classes.
        """
        head: JointHead = model.prompt_learner.joint_head
        if head.rows is not None or not head.knows:
            raise UserError(
                "DePT's head is trained on the classes that it was made for, and this model has others: use the loss "
                "of the model that .with_classes was called on, or .on(clip_model, names)"
            )
        terms = [
            Term(name, weight * (1 - self.weight) if of is cross_entropy else weight, _OnCosines(of))
            for name, weight, of in objective.terms
        ]
        own = Term("joint head", self.weight, functools.partial(_head_entropy, head))
        rule = None if objective.rule is None else _RuleOnCosines(objective.rule)
        return objective._replace(terms=(*terms, own), rule=rule)

    @property
    def training_beside(self) -> Training:
        """The head has a learning rate of its own; in the warm-up it is that of all."""
        learns = self.film or self.type == LINEAR
        return Training(rates=(OwnRate(("joint_head.",), self.lr_exp, in_warm_up=False),) if learns else ())

    def known_by(self) -> str:
        """Its settings, without those that affect only training or tests."""
        said = ((one.key, as_config(getattr(self, one.field))) for one in self.settings() if one.compared)
        return f"DePT({', '.join(f'{key} {value}' for key, value in said)})"


class _OnCosines:
    """A term of the method's objective, which sees the logits that there would be without a head."""

    def __init__(self, of: Any):
        self.of = of

    def set_stream(self, stream: torch.dtype | None) -> None:
        """Set the type of the tokens between products of a teacher in it."""
        if hasattr(self.of, "set_stream"):
            self.of.set_stream(stream)

    def __call__(self, output: Output, images: Tensor, labels: Tensor) -> Tensor:
        return cast(Tensor, self.of(output._replace(logits=output.each[0]), images, labels))


class _RuleOnCosines:
    """The same for the objective's rule, a Rule."""

    def __init__(self, of: Rule):
        self.of, self.noted, self.set_stream = of, of.noted, _OnCosines(of).set_stream

    def __call__(self, loss: Tensor, output: Output, images: Tensor, labels: Tensor) -> Tensor:
        return self.of(loss, output._replace(logits=output.each[0]), images, labels)


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
    folder = "PromptLearner"
    prefix = "prompt_learner."
    logging = Logging()
    repository = Repository(shared=_SHARED)
    joined_by: ClassVar[Any] = DePT()


@dataclass(frozen=True, repr=False)
class ExtrasLinearProbeCoCoOp(CoCoOp):
    """CoCoOp with DePT's head, under its repository's name; also on ResNets."""

    node = CoCoOp.node
    folder = "PromptLearner"
    prefix = "prompt_learner."
    repository = Repository(shared=_SHARED)
    joined_by: ClassVar[Any] = DePT()


@dataclass(frozen=True, repr=False)
class ExtrasLinearProbeKgCoOp(KgCoOp):
    """KgCoOp with DePT's head, under its repository's name; also on ResNets."""

    node = KgCoOp.node
    folder = "PromptLearner"
    prefix = "prompt_learner."
    logging = Logging()
    repository = Repository(shared={**KgCoOp.repository.shared, **_SHARED})
    joined_by: ClassVar[Any] = DePT()


@dataclass(frozen=True, repr=False)
class ExtrasLinearProbeMaPLe(MaPLe):
    """MaPLe with DePT's head, under its repository's name."""

    node = MaPLe.node
    repository = Repository(shared=_SHARED)
    joined_by: ClassVar[Any] = DePT()
