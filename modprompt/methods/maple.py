"""Multi-modal prompt learning (MaPLe, arXiv 2210.03117): text prompts per layer, vision prompts projected from them."""

from dataclasses import dataclass

from modprompt.clips.structure import CLIP
from modprompt.engine.context import words_or_random
from modprompt.engine.schedule import Schedules, Shape, replacement
from modprompt.fields import setting
from modprompt.learners.base import Learner
from modprompt.learners.coupled import CoupledPromptLearner
from modprompt.methods.contract import Classes
from modprompt.methods.groups import LearnedText, PromptsVision


@dataclass(frozen=True, repr=False)
class MaPLe(LearnedText, PromptsVision):
    """MaPLe: replacement on both sides, one projection per layer."""

    node = "TRAINER.MAPLE"
    folder = "MultiModalPromptLearner"

    n_ctx: int = setting(2, "context tokens, and prompt tokens in front of each deeper layer", least=1)
    ctx_init: str = setting("a photo of a", "words the context starts from, if N_CTX is at most 4")
    prompt_depth: int = setting(9, "layers that receive prompts")

    def schedules(self, shape: Shape) -> Schedules:
        """Both sides replace n_ctx tokens per layer."""
        n, depth = self.n_ctx, self.prompt_depth
        text = self.written("text", self.schedule_text, shape.text_layers, n, "N_CTX")
        vision = self.written("vision", self.schedule_vision, shape.vision_layers, n, "N_CTX")
        return Schedules(
            text or replacement(shape.text_layers, depth, n, "text"),
            vision or replacement(shape.vision_layers, depth, n, "vision"),
        )

    def learner(self, clip_model: CLIP, classes: Classes, schedules: Schedules) -> CoupledPromptLearner:
        """The coupled learner, its context started from words."""
        context = words_or_random(self.ctx_init, self.n_ctx, clip_model)
        return CoupledPromptLearner(classes.names, clip_model, schedules, context)

    def key(self, learner: Learner, name: str) -> str:
        """MaPLe has one projection per layer, under a name of its own."""
        return super().key(learner, name.replace("txt2img_proj.0.", "compound_prompt_projections."))
