"""Textual-based Class-aware Prompt tuning (TCP, arXiv 2311.18231): deeper text tokens made of each class's feature."""

import copy
import functools
from dataclasses import dataclass
from typing import Any, Dict, Optional, Sequence

from torch import Tensor

from modprompt.clips.cast import exact
from modprompt.clips.structure import CLIP
from modprompt.engine.context import Context
from modprompt.engine.schedule import CARRY, MOST_TOKENS, Schedule, Schedules, Shape, Step
from modprompt.errors import SettingError
from modprompt.fields import changed, setting
from modprompt.methods.base import Only
from modprompt.methods.coop import PHOTO, OneContext, of_coop
from modprompt.methods.parts import templates
from modprompt.methods.parts.class_tokens import ClassTokensLearner
from modprompt.methods.parts.classes import Classes
from modprompt.methods.parts.learner import Learner
from modprompt.methods.parts.regularise import mean_class_features
from modprompt.methods.parts.teacher import FrozenCLIP

_ONLY = {"TRAINER.COOP.CSC": Only("False"), "TRAINER.COOP.CLASS_TOKEN_POSITION": Only("end")}


@dataclass(frozen=True, repr=False)
class TCP(OneContext):
    """TCP: a context, and in front of one text layer, or several, tokens that are each class's own; also on ResNets."""

    node = "TRAINER.TCP"
    same_step = True
    own_words = PHOTO
    shared = {**of_coop(), **_ONLY, "TRAINER.COOP.W": "", "TRAINER.COCOOP.PREC": ""}
    teacher_words = templates.TCP
    log_accuracy = True
    not_searched = "SCHEDULE_TEXT says which layers get tokens of the classes"

    n_ctx: int = changed(OneContext, "n_ctx", 4)
    teacher_template: str = changed(OneContext, "teacher_template", "", compared=True)  # what class tokens are made of
    ctx_init: str = setting("", "words the context starts from; True: a photo of a; else random", switch=True)
    layer: int = setting(8, "text layer, from 0, in front of which class tokens replace the context", least=1)
    n_class: int = setting(4, "class tokens there", least=1, most=MOST_TOKENS)
    kg_weight: float = setting(
        8.0, "weight of the distance of class features to CLIP's own", key="W", least=0, compared=False
    )
    eps: float = setting(
        1e-3, "what Adam adds to its divisor: where gradients are smaller, steps are", least=0, compared=False
    )
    prompt_template: str = setting(
        "", "words of the learned prompt, with {} for the name and X for the context; empty: the data set's"
    )

    def check(self) -> None:
        """Complain about a template without a place for the name."""
        super().check()
        templates.require_place("PROMPT_TEMPLATE", self.prompt_template)

    def schedules(self, shape: Shape) -> Schedules:
        """A context, replaced by class tokens at their layer; or schedule_text, whose deeper tokens are all such."""
        found = super().schedules(shape)
        if not self.schedule_text:
            return found._replace(text=self._replaced(shape.text_layers))
        if not any(step.add for step in found.text[1:]):
            raise SettingError([("SCHEDULE_TEXT", " must add tokens behind layer 0: those are the class tokens")])
        return found

    def _replaced(self, layers: int) -> Schedule:
        if self.layer >= layers:
            text = f" must be less than {layers}, the number of text layers of this model, got {self.layer}"
            raise SettingError([("LAYER", text)])
        before, behind = [CARRY] * (self.layer - 1), [CARRY] * (layers - self.layer - 1)
        return Schedule([Step(0, self.length()), *before, Step(self.length(), self.n_class), *behind], "text")

    def within(self, context: Context, dataset: str) -> Context:
        """A context among the words of the learned prompt."""
        return context.within(self.prompt_template or templates.TCP_LEARNED.get(dataset, templates.TCP_DEFAULT))

    def context(self, clip_model: CLIP, classes: Classes, n_cls: Optional[int] = None) -> Context:
        """The words or random vectors, among those of the learned prompt."""
        return self.within(super().context(clip_model, classes, n_cls), classes.dataset)

    def features(self, dataset: str, names: Sequence[str], clip_model: CLIP) -> Tensor:
        """The teacher's class features (C, E), normalised, of CLIP's exact weights."""
        return mean_class_features(FrozenCLIP(exact(clip_model)), names, (self.template(dataset),)).cpu()

    def learner(self, clip_model: CLIP, classes: Classes, schedules: Schedules) -> ClassTokensLearner:
        """A context, and the network that makes the class tokens."""
        context, features = self.context(clip_model, classes), functools.partial(self.features, classes.dataset)
        return ClassTokensLearner(classes.names, clip_model, schedules, context, features, self.described)

    def for_classes(self, learner: Any, clip_model: CLIP, classes: Classes) -> Learner:
        """The same prompts for other classes, in their data set's words."""
        other = copy.copy(learner)
        context = self.within(Context("", learner.ctx, ""), classes.dataset)
        other.prefix, other.ending = context.around(learner.schedules.text.among_words)
        other.features = functools.partial(self.features, classes.dataset)
        return super().for_classes(other, clip_model, classes)

    def optimiser_settings(self) -> Dict[str, float]:
        """Adam's eps."""
        return {"eps": self.eps}
