"""Textual-based Class-aware Prompt tuning (TCP, arXiv 2311.18231): deeper text tokens made of each class's feature."""

import copy
import functools
from dataclasses import dataclass
from typing import Any, Dict, Sequence

from torch import Tensor

from modprompt.clips.cast import exact
from modprompt.clips.structure import CLIP
from modprompt.clips.tokens import token_ids
from modprompt.engine.context import Context, from_words, random_context
from modprompt.engine.schedule import CARRY, MOST_TOKENS, Schedule, Schedules, Shape, Step, no_prompts
from modprompt.errors import SettingError
from modprompt.fields import setting
from modprompt.learners.base import Learner
from modprompt.learners.class_tokens import ClassTokensLearner
from modprompt.methods import templates
from modprompt.methods.contract import Classes
from modprompt.methods.groups import LearnedText
from modprompt.training.regularise import mean_class_features
from modprompt.training.teacher import FrozenCLIP

WORDS = "a photo of a"  # for CTX_INIT True


@dataclass(frozen=True, repr=False)
class TCP(LearnedText):
    """TCP: a context, and in front of one text layer, or several, tokens that are each class's own; also on ResNets."""

    node = "TRAINER.TCP"
    prefix = ""
    log_accuracy = True
    not_searched = "SCHEDULE_TEXT says which layers get tokens of the classes"

    n_ctx: int = setting(4, "context tokens; with CTX_INIT, as many as its words have", least=1, most=MOST_TOKENS)
    ctx_init: str = setting("", f'words the context starts from; True: "{WORDS}"; False or empty: random vectors')
    csc: bool = setting(False, "not with TCP: what single classes have of their own are the class tokens")
    layer: int = setting(8, "text layer, from 0, in front of which class tokens replace the context", least=1)
    n_class: int = setting(4, "class tokens there", least=1, most=MOST_TOKENS)
    kg_weight: float = setting(8.0, "weight of the distance of class features to CLIP's own", least=0, key="W")
    eps: float = setting(1e-3, "what Adam adds to its divisor", least=0, compared=False)
    prompt_template: str = setting(
        "", "words of the learned prompt, with {} for the name and X for context; empty: the data set's"
    )

    def check(self) -> None:
        """Complain about what the method has not."""
        super().check()
        if self.csc:
            raise SettingError([("CSC", " means nothing for TCP: what classes have of their own are the class tokens")])
        if self.prompt_template and "{}" not in self.prompt_template:
            text = f" must have {{}} where the class name goes, got {self.prompt_template!r}"
            raise SettingError([("PROMPT_TEMPLATE", text)])

    def length(self) -> int:
        """Number of context tokens."""
        return len(token_ids(self.words)) or self.n_ctx

    @property
    def words(self) -> str:
        """What the context starts from; empty for random vectors."""
        return {"True": WORDS, "False": ""}.get(self.ctx_init, self.ctx_init)

    def schedules(self, shape: Shape) -> Schedules:
        """A context, replaced by class tokens at their layer; or schedule_text, whose deeper tokens are all such."""
        n_ctx, layers = self.length(), shape.text_layers
        text = self.written("text", self.schedule_text, layers, n_ctx, "N_CTX") or self._replaced(layers, n_ctx)
        if not any(step.add for step in text[1:]):
            raise SettingError([("SCHEDULE_TEXT", " must add tokens behind layer 0: those are the class tokens")])
        return Schedules(text, no_prompts(shape.vision_layers))

    def _replaced(self, layers: int, n_ctx: int) -> Schedule:
        if self.layer >= layers:
            text = f" must be less than {layers}, the number of text layers of this model, got {self.layer}"
            raise SettingError([("LAYER", text)])
        behind = [CARRY] * (layers - self.layer - 1)
        return Schedule([Step(0, n_ctx), *[CARRY] * (self.layer - 1), Step(n_ctx, self.n_class), *behind], "text")

    def template(self, dataset: str) -> str:
        """The words of the teacher's class features, with {} for the name."""
        return self.teacher_template or templates.TCP.get(dataset, templates.DEFAULT)

    def _in_words(self, context: Context, dataset: str) -> Context:
        """A context within the words of the learned prompt."""
        return context.within(self.prompt_template or templates.TCP_LEARNED.get(dataset, templates.TCP_DEFAULT))

    def features(self, dataset: str, names: Sequence[str], clip_model: CLIP) -> Tensor:
        """The teacher's class features (C, E), normalised, of CLIP's exact weights."""
        return mean_class_features(FrozenCLIP(exact(clip_model)), names, (self.template(dataset),)).cpu()

    def learner(self, clip_model: CLIP, classes: Classes, schedules: Schedules) -> ClassTokensLearner:
        """A context, and the network that makes the class tokens."""
        words = self.words
        start = from_words(words, self.length(), clip_model) if words else random_context(self.n_ctx, clip_model)
        context = self._in_words(start, classes.dataset)
        features = functools.partial(self.features, classes.dataset)
        return ClassTokensLearner(classes.names, clip_model, schedules, context, features)

    def for_classes(self, learner: Any, clip_model: CLIP, classes: Classes) -> Learner:
        """The same prompts for other classes, in their data set's words."""
        other = copy.copy(learner)
        context = self._in_words(Context("", learner.ctx, ""), classes.dataset)
        other.prefix, other.ending = context.around(learner.schedules.text.among_words)
        other.features = functools.partial(self.features, classes.dataset)
        return super().for_classes(other, clip_model, classes)

    def optimiser_settings(self) -> Dict[str, float]:
        """Adam's eps, which damps steps where gradients are below it."""
        return {"eps": self.eps}
