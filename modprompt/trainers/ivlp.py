"""Independent vision-language prompting (IVLP, arXiv 2210.03117): deep prompts on both sides, learned apart.

PROMPT_DEPTH_VISION 0 with N_CTX_VISION 0 is deep language prompting, which runs on ResNets too.
"""

from yacs.config import CfgNode

from modprompt.checks import at_least
from modprompt.clips.build import layers_of
from modprompt.engine.context import words_or_random
from modprompt.engine.schedule import Schedules, no_prompts, replacement
from modprompt.learners.independent import IndependentPromptLearner
from modprompt.trainers.nodes import register_defaults
from modprompt.trainers.prompt_trainer import PromptTrainer
from modprompt.trainers.registration import register_trainer


def ivlp_node(n_ctx: int) -> CfgNode:
    """The settings of both sides, with n_ctx tokens on each."""
    node = CfgNode()
    node.N_CTX_VISION = n_ctx  # prompt tokens in front of each vision layer
    node.N_CTX_TEXT = n_ctx  # context tokens, and prompt tokens in front of each deeper text layer
    node.CTX_INIT = "a photo of a"  # words the context starts from, if N_CTX_TEXT is at most 4
    node.PREC = "fp16"  # fp16, fp32 or amp
    node.PROMPT_DEPTH_VISION = 9  # layers that receive prompts; 0 for none
    node.PROMPT_DEPTH_TEXT = 9
    node.SCHEDULE_TEXT = []  # [[remove, add], ...] per text layer, in place of replacement
    node.SCHEDULE_VISION = []  # the same for the vision side
    return node


register_defaults("IVLP", ivlp_node(2))


@register_trainer
class IVLP(PromptTrainer):
    """IVLP: replacement on both sides, with parameters of their own."""

    node_name = "IVLP"
    checkpoint_name = "VLPromptLearner"

    def vision_schedule(self, clip_model):
        """Replacement on PROMPT_DEPTH_VISION layers, or SCHEDULE_VISION."""
        n_ctx, depth = self.settings.N_CTX_VISION, self.settings.PROMPT_DEPTH_VISION
        layers = layers_of(clip_model)[1]
        if not depth and not self.setting("SCHEDULE_VISION"):
            return no_prompts(layers)
        self.require_vision_transformer(clip_model)
        written = self.written("vision", layers, n_ctx, "N_CTX_VISION")
        at_least("N_CTX_VISION", n_ctx, 0 if written else 1)
        return written or replacement(layers, depth, n_ctx, "vision", "PROMPT_DEPTH_VISION")

    def text_schedule(self, clip_model):
        """Replacement on PROMPT_DEPTH_TEXT layers, or SCHEDULE_TEXT."""
        n_ctx, depth = self.settings.N_CTX_TEXT, self.settings.PROMPT_DEPTH_TEXT
        layers = layers_of(clip_model)[0]
        written = self.written("text", layers, n_ctx, "N_CTX_TEXT")
        return written or replacement(layers, depth, n_ctx, "text", "PROMPT_DEPTH_TEXT")

    def build_learner(self, clip_model, classnames):
        """A context and deep prompts on the text side, deep prompts on the vision side."""
        context = words_or_random(self.settings.CTX_INIT, self.settings.N_CTX_TEXT, clip_model, "N_CTX_TEXT")
        schedules = Schedules(self.text_schedule(clip_model), self.vision_schedule(clip_model))
        return IndependentPromptLearner(classnames, clip_model, schedules, context)
