"""Conditional Context Optimization (CoCoOp, arXiv 2203.05557): a context that moves with the image."""

from dataclasses import dataclass

from modprompt.clips.structure import CLIP
from modprompt.engine.schedule import Schedules, Shape
from modprompt.errors import SettingError
from modprompt.methods.coop import OneContext
from modprompt.methods.parts.classes import Classes
from modprompt.methods.parts.conditional import ConditionalPromptLearner


@dataclass(frozen=True, repr=False)
class CoCoOp(OneContext):
    """CoCoOp: CoOp's context plus what a small network makes of the image's feature; also on ResNets."""

    node = "TRAINER.COCOOP"
    same_step = True

    def schedules(self, shape: Shape) -> Schedules:
        """A context carried to the end, or schedule_text; nothing on the vision side."""
        found = super().schedules(shape)
        if not found.text[0].add:
            raise SettingError([("SCHEDULE_TEXT", " must add tokens at layer 0: they move with the image")])
        return found

    def learner(self, clip_model: CLIP, classes: Classes, schedules: Schedules) -> ConditionalPromptLearner:
        """A context on the text side, and the network that moves it."""
        context = self.context(clip_model, classes)
        return ConditionalPromptLearner(classes.names, clip_model, schedules, context, self.described)
