"""Multi-modal prompt learning (MaPLe, arXiv 2210.03117): text prompts per layer, vision prompts projected from them."""

from yacs.config import CfgNode

from modprompt.clips.build import layers_of
from modprompt.engine.context import words_or_random
from modprompt.engine.schedule import Schedules, replacement
from modprompt.learners.coupled import CoupledPromptLearner
from modprompt.trainers.nodes import register_defaults
from modprompt.trainers.prompt_trainer import PromptTrainer
from modprompt.trainers.registration import register_trainer

DEFAULTS = CfgNode()
DEFAULTS.N_CTX = 2  # context tokens, and prompt tokens in front of each deeper layer
DEFAULTS.CTX_INIT = "a photo of a"  # words the context starts from, if N_CTX is at most 4
DEFAULTS.PREC = "fp16"  # fp16, fp32 or amp
DEFAULTS.PROMPT_DEPTH = 9  # layers that receive prompts
DEFAULTS.SCHEDULE_TEXT = []  # [[remove, add], ...] per text layer, in place of replacement
DEFAULTS.SCHEDULE_VISION = []  # the same for the vision side
register_defaults("MAPLE", DEFAULTS)


@register_trainer
class MaPLe(PromptTrainer):
    """MaPLe: replacement on both sides, one projection per layer."""

    node_name = "MAPLE"
    checkpoint_name = "MultiModalPromptLearner"

    def build_learner(self, clip_model, classnames):
        """The coupled learner, its context started from words."""
        n_ctx, depth = self.settings.N_CTX, self.settings.PROMPT_DEPTH
        self.require_vision_transformer(clip_model)
        context = words_or_random(self.settings.CTX_INIT, n_ctx, clip_model)
        text, vision = (
            self.written(side, layers, n_ctx) or replacement(layers, depth, n_ctx, side)
            for side, layers in zip(("text", "vision"), layers_of(clip_model))
        )
        return CoupledPromptLearner(classnames, clip_model, Schedules(text, vision), context)

    def checkpoint_key(self, learner, name):
        """MaPLe has one projection per layer, under a name of its own."""
        return super().checkpoint_key(learner, name.replace("txt2img_proj.0.", "compound_prompt_projections."))
