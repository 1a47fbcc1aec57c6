"""Modular Prompt Learning (arXiv 2502.14125): prompts added, removed and carried from layer to layer."""

from dassl.engine import TRAINER_REGISTRY
from yacs.config import CfgNode

from modprompt.backbone import require_vision_transformer
from modprompt.learner import ModularPromptLearner, describe_mpl, mpl_schedules
from modprompt.plugin.config import add_missing, register_defaults
from modprompt.plugin.trainer import PromptTrainer


def add_mpl_config(cfg: CfgNode) -> None:
    """Defaults of MPL under cfg.TRAINER.MPL, where they are missing."""
    node = CfgNode()
    node.N_CTX = 2  # context tokens in front of layer 0, and of each deep text layer
    node.N_ADD_OP = 2  # projections appended on the vision side per deep layer, N_CTX tokens each
    node.N_RM_OP = 1  # vision prompt tokens removed in front of each deep layer
    node.CTX_INIT = "a photo of a"  # words behind the context
    node.PREC = "fp16"  # fp16, fp32 or amp
    node.PROMPT_DEPTH = 9  # layers that receive prompts
    node.SCHEDULE_TEXT = []  # [[remove, add], ...] per text layer, in place of the replacement
    node.SCHEDULE_VISION = []  # [[remove, add], ...] per vision layer, in place of N_ADD_OP and N_RM_OP
    defaults = CfgNode()
    defaults.MPL = node
    add_missing(cfg.TRAINER, defaults)


register_defaults(add_mpl_config)


@TRAINER_REGISTRY.register(force=True)
class MPL(PromptTrainer):
    """MPL: text prompts per layer, vision prompts projected from them by the modular schedule."""

    checkpoint_name = "MultiModalPromptLearner"

    def settings(self, cfg):
        """cfg.TRAINER.MPL."""
        return cfg.TRAINER.MPL

    def build_learner(self, clip_model):
        """The modular prompt learner; prints its schedules."""
        node = self.settings(self.cfg)
        require_vision_transformer(clip_model, self.cfg.MODEL.BACKBONE.NAME, "MPL")
        schedules = mpl_schedules(
            len(clip_model.transformer.resblocks),
            len(clip_model.visual.transformer.resblocks),
            n_ctx=node.N_CTX,
            n_add=node.N_ADD_OP,
            n_remove=node.N_RM_OP,
            depth=node.PROMPT_DEPTH,
            text_steps=getattr(node, "SCHEDULE_TEXT", []),
            vision_steps=getattr(node, "SCHEDULE_VISION", []),
        )
        learner = ModularPromptLearner(
            self.dm.dataset.classnames, clip_model, schedules, n_ctx=node.N_CTX, ctx_init=node.CTX_INIT
        )
        print(f'Modular prompt learning, initial context "{learner.prefix}"')
        print(schedules.text.table(), schedules.vision.table(), sep="\n")
        return learner

    def describe(self, state_dict):
        """Depth, context length, projections and widths of a state dict."""
        return describe_mpl(state_dict)
