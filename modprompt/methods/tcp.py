"""Textual-based Class-aware Prompt tuning (TCP, arXiv 2311.18231): deeper text tokens from each class's feature.

Shapes: C classes, E joint width, n tokens of all layers after layer 0, T text width.
"""

import copy
import functools
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from modprompt.clip.cast import exact
from modprompt.clip.draws import draw_constructor
from modprompt.clip.towers import CLIP, QuickGELU, joint_width, text_width, tokenizer_of
from modprompt.engine.context import Context
from modprompt.engine.prompts import Additions, Prompts
from modprompt.engine.schedule import CARRY, MOST_TOKENS, Schedule, Schedules, Shape, Step
from modprompt.engine.token_updates import OfClasses
from modprompt.errors import SettingError
from modprompt.fields import changed, setting
from modprompt.methods.coop import PHOTO, OneContext, of_coop
from modprompt.methods.parts import templates
from modprompt.methods.parts.capabilities import Logging, Only, Repository, Training
from modprompt.methods.parts.learners import Classes, IndependentPromptLearner, Learner
from modprompt.methods.parts.losses import FrozenCLIP, mean_class_features
from modprompt.methods.parts.text import Described

REDUCTION = 4  # the network's hidden width is 1/4 of the joint width
Features = Callable[[Sequence[str], CLIP], Tensor]  # of class names: frozen class features (C, E), normalised


_ONLY = {"TRAINER.COOP.CSC": Only("False"), "TRAINER.COOP.CLASS_TOKEN_POSITION": Only("end")}


@dataclass(frozen=True, repr=False)
class TCP(OneContext):
    """TCP: a context, and before one text layer, or several, tokens of each class's own; also on ResNets."""

    node = "TRAINER.TCP"
    own_words = PHOTO
    repository = Repository(shared={**of_coop(), **_ONLY, "TRAINER.COOP.W": "", "TRAINER.COCOOP.PREC": ""})
    teacher_words = templates.TCP
    logging = Logging(accuracy=True)
    not_searched = "SCHEDULE_TEXT sets the layers with class tokens"

    n_ctx: int = changed(OneContext, "n_ctx", 4)
    teacher_template: str = changed(OneContext, "teacher_template", "", compared=True)  # class tokens are made from it
    ctx_init: str = setting(
        "", "the initial words of the context; True means a photo of a, empty means random initialization", switch=True
    )
    layer: int = setting(8, "the text layer, counted from 0, before which class tokens replace the context", least=1)
    n_class: int = setting(4, "the number of class tokens inserted before LAYER", least=1, most=MOST_TOKENS)
    kg_weight: float = setting(
        8.0,
        "the weight of the KgCoOp loss, the distance between the learned and CLIP's original class features",
        key="W",
        least=0,
        compared=False,
    )
    eps: float = setting(
        1e-3, "Adam's epsilon; a larger value shortens the steps where gradients are small", least=0, compared=False
    )
    prompt_template: str = setting(
        "",
        "the template of the learned prompt, with {} for the class name and X for a context token; empty "
        "uses the template of the data set",
    )

    def check(self) -> None:
        super().check()
        templates.require_place("PROMPT_TEMPLATE", self.prompt_template)

    def schedules(self, shape: Shape) -> Schedules:
        """A context, replaced by class tokens at their layer; or schedule_text, whose deeper tokens are all such."""
        found = super().schedules(shape)
        if not self.schedule_text:
            return found._replace(text=self._replaced(shape.text_layers))
        if not any(step.add for step in found.text[1:]):
            raise SettingError(
                [("SCHEDULE_TEXT", " must add tokens after layer 0, because these tokens are the class tokens.")]
            )
        return found

    def _replaced(self, layers: int) -> Schedule:
        if self.layer >= layers:
            text = f" must be less than {layers}, the number of text layers of this model, got {self.layer}."
            raise SettingError([("LAYER", text)])
        before, behind = [CARRY] * (self.layer - 1), [CARRY] * (layers - self.layer - 1)
        return Schedule([Step(0, self.length()), *before, Step(self.length(), self.n_class), *behind], "text")

    def within(self, context: Context, dataset: str, clip_model: CLIP) -> Context:
        """A context among the words of the learned prompt."""
        template = self.prompt_template or templates.TCP_LEARNED.get(dataset, templates.TCP_DEFAULT)
        return context.within(template, tokenizer_of(clip_model))

    def context(self, clip_model: CLIP, classes: Classes, n_cls: int | None = None) -> Context:
        return self.within(super().context(clip_model, classes, n_cls), classes.dataset, clip_model)

    def features(self, dataset: str, names: Sequence[str], clip_model: CLIP) -> Tensor:
        """The teacher's class features (C, E), normalised, of CLIP's exact weights."""
        return mean_class_features(FrozenCLIP(exact(clip_model)), names, (self.template(dataset),)).cpu()

    def learner(self, clip_model: CLIP, classes: Classes, schedules: Schedules) -> "ClassTokensLearner":
        context, features = self.context(clip_model, classes), functools.partial(self.features, classes.dataset)
        return ClassTokensLearner(classes.names, clip_model, schedules, context, features, self.described)

    def for_classes(self, learner: Any, clip_model: CLIP, classes: Classes) -> Learner:
        other = copy.copy(learner)
        context = self.within(Context("", learner.ctx, ""), classes.dataset, clip_model)
        other.prefix, other.ending = context.around(learner.schedules.text.among_words)
        other.features = functools.partial(self.features, classes.dataset)
        return super().for_classes(other, clip_model, classes)

    @property
    def training(self) -> Training:
        return super().training._replace(optimiser={"eps": self.eps})


class ClassTokensLearner(IndependentPromptLearner):
    """Every text layer after layer 0 adds tokens of each class, which one network computes for all layers.

    Random draws after those of the context: what the constructor of a CLIP draws, since the reference builds its
    teacher here; then linear1, linear2.

    Args:
        context: as for IndependentPromptLearner.
        features: computes the network's input; in no checkpoint, called again for other classes.
        described: as for IndependentPromptLearner; all prompts of a class have its tokens.

    Raises:
        UserError: as put_in.
    """

    in_clip_type = ("ctx", "meta_net.")
    class_features: Tensor

    def __init__(
        self,
        classnames: Sequence[str],
        clip_model: CLIP,
        schedules: Schedules,
        context: Context,
        features: Features,
        described: Described | None = None,
    ):
        self.features = features  # put_in asks for it
        super().__init__(classnames, clip_model, schedules, context, described=described)

    def _draw(self, clip_model: CLIP, first_text_layer: int) -> None:
        draw_constructor(clip_model)
        joint, width = joint_width(clip_model), text_width(clip_model)
        linear1 = nn.Linear(joint, joint // REDUCTION)
        linear2 = nn.Linear(joint // REDUCTION, sum(self._counts) * width)
        self.meta_net = nn.Sequential(OrderedDict(linear1=linear1, gelu=QuickGELU(), linear2=linear2))
        self.meta_net.to(clip_model.dtype)

    @property
    def _counts(self) -> Sequence[int]:
        """How many tokens of each class every layer after layer 0 adds."""
        return [step.add for step in self.schedules.text[1:]]

    def put_in(self, classnames: Sequence[str], clip_model: CLIP) -> None:
        super().put_in(classnames, clip_model)
        features = self.features(classnames, clip_model)
        if self.described is not None:
            features = features.repeat_interleave(torch.tensor(self.described.prompts(classnames)[1]), 0)
        self.register_buffer("class_features", features, persistent=False)

    def forward(self) -> Prompts:
        made: Tensor = self.meta_net(self.class_features.to(self.ctx.dtype))  # (C, n * T)
        tokens = made.view(len(made), -1, self.ctx.shape[-1]).split(self._counts, dim=1)
        deep: Additions = [OfClasses(own) if own.shape[1] else None for own in tokens]
        return Prompts(*self.with_first(self.ctx, [None, *deep]), [None] * len(self.schedules.vision))
