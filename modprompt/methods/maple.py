"""Multi-modal prompt learning (MaPLe, arXiv 2210.03117): text prompts per layer, vision prompts projected from them."""

from dataclasses import dataclass

from modprompt.clip.towers import CLIP
from modprompt.engine.context import words_or_random
from modprompt.engine.schedule import Schedule, Schedules, replacement
from modprompt.fields import setting
from modprompt.methods.parts.groups import Coupled
from modprompt.methods.parts.learners import Classes, CoupledPromptLearner


@dataclass(frozen=True, repr=False)
class MaPLe(Coupled):
    """MaPLe: replacement on both sides, one projection per layer."""

    node = "TRAINER.MAPLE"

    ctx_init: str = setting("a photo of a", "the initial words of the context; used if N_CTX is at most 4")

    def vision_rule(self, layers: int) -> Schedule:
        return replacement(layers, self.prompt_depth, self.n_ctx, "vision")

    def learner(self, clip_model: CLIP, classes: Classes, schedules: Schedules) -> CoupledPromptLearner:
        context = words_or_random(self.ctx_init, self.n_ctx, clip_model)
        return MaPLePromptLearner(classes.names, clip_model, schedules, context)


class MaPLePromptLearner(CoupledPromptLearner):
    """The coupled learner, under MaPLe's own name of the one projection per layer."""

    @staticmethod
    def checkpoint_key(name: str) -> str:
        return name.replace("txt2img_proj.0.", "compound_prompt_projections.")
