"""Visual prompt tuning (VPT, arXiv 2203.12119) of CLIP: vision prompts alone, fixed class prompts."""

from yacs.config import CfgNode

from modprompt.checks import at_least
from modprompt.clips.build import layers_of
from modprompt.engine.context import no_context
from modprompt.engine.schedule import Schedules, no_prompts
from modprompt.learners.independent import IndependentPromptLearner
from modprompt.trainers.ivlp import IVLP
from modprompt.trainers.nodes import register_defaults
from modprompt.trainers.registration import register_trainer

DEFAULTS = CfgNode()
DEFAULTS.N_CTX_VISION = 2  # prompt tokens in front of each layer
DEFAULTS.CTX_INIT = "a photo of a"  # words in front of the class name; nothing is learned there
DEFAULTS.PREC = "fp16"  # fp16, fp32 or amp
DEFAULTS.PROMPT_DEPTH_VISION = 1  # layers that receive prompts
DEFAULTS.SCHEDULE_VISION = []  # [[remove, add], ...] per vision layer, in place of replacement
register_defaults("VPT", DEFAULTS)


@register_trainer
class VPT(IVLP):
    """VPT: IVLP's vision side; class features are computed once."""

    node_name = "VPT"
    checkpoint_name = "prompt_learner"

    def build_learner(self, clip_model, classnames):
        """Deep prompts on the vision side."""
        at_least("PROMPT_DEPTH_VISION", self.settings.PROMPT_DEPTH_VISION, 1)
        text = no_prompts(layers_of(clip_model)[0], "text")
        schedules = Schedules(text, self.vision_schedule(clip_model))
        context = no_context(self.settings.CTX_INIT, clip_model)
        return IndependentPromptLearner(classnames, clip_model, schedules, context)
