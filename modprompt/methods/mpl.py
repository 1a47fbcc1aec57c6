"""Modular Prompt Learning (arXiv 2502.14125): prompts added, removed and carried from layer to layer."""

from dataclasses import dataclass

from modprompt.clips.structure import CLIP
from modprompt.engine.context import placeholders
from modprompt.engine.schedule import Schedules, Shape, modular, replacement
from modprompt.fields import setting
from modprompt.learners.coupled import CoupledPromptLearner
from modprompt.methods.contract import Classes
from modprompt.methods.groups import LearnedText, PromptsVision, Regularised


@dataclass(frozen=True, repr=False)
class MPL(LearnedText, PromptsVision, Regularised):
    """MPL: text prompts per layer; vision prompts projected from them, added, removed and carried."""

    node = "TRAINER.MPL"
    folder = "MultiModalPromptLearner"

    n_ctx: int = setting(2, "context tokens in front of layer 0, and of each deep text layer", least=1)
    n_add_op: int = setting(2, "projections appended on the vision side per deep layer, N_CTX tokens each", least=1)
    n_rm_op: int = setting(1, "vision prompt tokens removed in front of each deep layer", least=0)
    ctx_init: str = setting("a photo of a", "words behind the context")
    prompt_depth: int = setting(9, "layers that receive prompts")

    def schedules(self, shape: Shape) -> Schedules:
        """Text replaces n_ctx tokens per layer; vision removes n_rm_op and adds n_add_op * n_ctx."""
        n, depth = self.n_ctx, self.prompt_depth
        text = self.written("text", self.schedule_text, shape.text_layers, n, "N_CTX")
        vision = self.written("vision", self.schedule_vision, shape.vision_layers, n, "N_CTX")
        return Schedules(
            text or replacement(shape.text_layers, depth, n, "text"),
            vision or modular(shape.vision_layers, depth, n, self.n_rm_op, self.n_add_op * n, "vision"),
        )

    def learner(self, clip_model: CLIP, classes: Classes, schedules: Schedules) -> CoupledPromptLearner:
        """The coupled learner, its context started from placeholders."""
        context = placeholders(self.ctx_init, self.n_ctx, clip_model)
        return CoupledPromptLearner(classes.names, clip_model, schedules, context)
