"""Modular Prompt Learning (arXiv 2502.14125): prompts added, removed and carried from layer to layer."""

from yacs.config import CfgNode

from modprompt.checks import at_least
from modprompt.clips.build import layers_of
from modprompt.engine.context import placeholders
from modprompt.engine.schedule import Schedules, modular, replacement
from modprompt.learners.coupled import CoupledPromptLearner
from modprompt.trainers.nodes import register_defaults
from modprompt.trainers.registration import register_trainer
from modprompt.trainers.regularised_trainer import RegularisedTrainer, add_regularisation

DEFAULTS = CfgNode()
DEFAULTS.N_CTX = 2  # context tokens in front of layer 0, and of each deep text layer
DEFAULTS.N_ADD_OP = 2  # projections appended on the vision side per deep layer, N_CTX tokens each
DEFAULTS.N_RM_OP = 1  # vision prompt tokens removed in front of each deep layer
DEFAULTS.CTX_INIT = "a photo of a"  # words behind the context
DEFAULTS.PREC = "fp16"  # fp16, fp32 or amp
DEFAULTS.PROMPT_DEPTH = 9  # layers that receive prompts
DEFAULTS.SCHEDULE_TEXT = []  # [[remove, add], ...] per text layer, in place of the replacement
DEFAULTS.SCHEDULE_VISION = []  # [[remove, add], ...] per vision layer, in place of N_ADD_OP and N_RM_OP
add_regularisation(DEFAULTS)
register_defaults("MPL", DEFAULTS)


@register_trainer
class MPL(RegularisedTrainer):
    """MPL: text prompts per layer, vision prompts projected from them by the modular schedule."""

    node_name = "MPL"
    checkpoint_name = "MultiModalPromptLearner"

    def schedules(self, text_layers, vision_layers):
        """Text replaces N_CTX tokens per layer; vision removes N_RM_OP and adds N_ADD_OP * N_CTX."""
        node, n_ctx, depth = self.settings, self.settings.N_CTX, self.settings.PROMPT_DEPTH
        at_least("N_ADD_OP", node.N_ADD_OP, 1)
        at_least("N_RM_OP", node.N_RM_OP, 0)
        text, vision = self.written("text", text_layers, n_ctx), self.written("vision", vision_layers, n_ctx)
        return Schedules(
            text or replacement(text_layers, depth, n_ctx, "text"),
            vision or modular(vision_layers, depth, n_ctx, node.N_RM_OP, node.N_ADD_OP * n_ctx, "vision"),
        )

    def build_learner(self, clip_model, classnames):
        """The coupled learner, its context started from placeholders."""
        self.require_vision_transformer(clip_model)
        context = placeholders(self.settings.CTX_INIT, self.settings.N_CTX, clip_model)
        return CoupledPromptLearner(classnames, clip_model, self.schedules(*layers_of(clip_model)), context)
