"""Zero-shot CLIP: the first row of every table. Nothing is trained."""

import copy
from dataclasses import dataclass
from typing import Any

from modprompt.clip.towers import CLIP
from modprompt.engine.schedule import Schedules, Shape, without_prompts
from modprompt.methods.base import Method
from modprompt.methods.parts import templates
from modprompt.methods.parts.learners import Classes, Learner, TemplatePrompts


@dataclass(frozen=True, repr=False)
class ZeroshotCLIP(Method):
    """CLIP with the data set's prompt template; also on ResNets."""

    def templates(self, dataset: str) -> list[str]:
        """The prompt templates for a data set."""
        return [templates.OF_DATASETS.get(dataset, templates.DEFAULT)]

    @property
    def wants_text(self) -> bool:
        return False

    def schedules(self, shape: Shape) -> Schedules:
        return without_prompts(shape)

    def learner(self, clip_model: CLIP, classes: Classes, schedules: Schedules) -> Learner:
        return TemplatePrompts(classes.names, clip_model, schedules, self.templates(classes.dataset))

    def for_classes(self, learner: Any, clip_model: CLIP, classes: Classes) -> Learner:
        other = copy.copy(learner)
        other.templates = tuple(self.templates(classes.dataset))
        return super().for_classes(other, clip_model, classes)


@dataclass(frozen=True, repr=False)
class ZeroshotCLIP2(ZeroshotCLIP):
    """CLIP with an ensemble: seven selected templates, and the data set's own unless it is ImageNet."""

    def templates(self, dataset: str) -> list[str]:
        own = [] if dataset == "ImageNet" else super().templates(dataset)
        return [*templates.SELECTED, *own]
