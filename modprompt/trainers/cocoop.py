"""Conditional Context Optimization (CoCoOp, arXiv 2203.05557): a context that moves with the image."""

from yacs.config import CfgNode

from modprompt.engine.model import ConditionalCLIP
from modprompt.learners.conditional import ConditionalPromptLearner
from modprompt.trainers.coop import CoOp, coop_context, coop_schedules, warn_of_unused_n_ctx
from modprompt.trainers.nodes import register_defaults
from modprompt.trainers.prompt_trainer import PromptTrainer
from modprompt.trainers.registration import register_trainer

DEFAULTS = CfgNode()
DEFAULTS.N_CTX = 16  # context tokens; with CTX_INIT, the number of its words
DEFAULTS.CTX_INIT = ""  # words the context starts from
DEFAULTS.PREC = "fp16"  # fp16, fp32 or amp
DEFAULTS.SCHEDULE_TEXT = []  # [[remove, add], ...] per text layer, in place of carrying the context to the end
register_defaults("COCOOP", DEFAULTS)


@register_trainer
class CoCoOp(PromptTrainer):
    """CoCoOp: CoOp's context plus what a small network makes of the image's feature; also on ResNets."""

    node_name = "COCOOP"
    checkpoint_prefix = ""
    model_class = ConditionalCLIP
    not_in_checkpoints = CoOp.not_in_checkpoints

    def check_cfg(self, cfg):
        """Complain about choices before any work is done."""
        super().check_cfg(cfg)
        warn_of_unused_n_ctx("COCOOP", cfg.TRAINER.COCOOP, DEFAULTS.N_CTX)

    def build_learner(self, clip_model, classnames):
        """A context on the text side, and the network that moves it."""
        context = coop_context(self.settings, clip_model)
        schedules = coop_schedules(self, clip_model, context.n_ctx)
        return ConditionalPromptLearner(classnames, clip_model, schedules, context)
