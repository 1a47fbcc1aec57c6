"""Context Optimization (CoOp, arXiv 2109.01134): a learnable context in the place of a hand-written prompt."""

import warnings

from dassl.metrics import compute_accuracy
from yacs.config import CfgNode

from modprompt.checks import one_of
from modprompt.clips.build import layers_of
from modprompt.clips.tokens import readable
from modprompt.engine.context import from_words, random_context
from modprompt.engine.prompts import POSITIONS
from modprompt.engine.schedule import Schedules, no_prompts, shallow
from modprompt.errors import UserError
from modprompt.learners.independent import IndependentPromptLearner
from modprompt.trainers.nodes import register_defaults
from modprompt.trainers.prompt_trainer import PromptTrainer
from modprompt.trainers.registration import register_trainer

DEFAULTS = CfgNode()
DEFAULTS.N_CTX = 16  # context tokens; with CTX_INIT, the number of its words
DEFAULTS.CSC = False  # a context of its own for each class
DEFAULTS.CTX_INIT = ""  # words the context starts from
DEFAULTS.PREC = "fp16"  # fp16, fp32 or amp
DEFAULTS.CLASS_TOKEN_POSITION = "end"  # end, middle or front
DEFAULTS.SCHEDULE_TEXT = []  # [[remove, add], ...] per text layer, in place of carrying the context to the end
register_defaults("COOP", DEFAULTS)


def coop_context(node, clip_model, n_cls=None):
    """CoOp's context: all words of CTX_INIT, or N_CTX random vectors (for each of n_cls classes, if given)."""
    words = readable(node.CTX_INIT)
    return from_words(words, len(words.split()), clip_model) if words else random_context(node.N_CTX, clip_model, n_cls)


def warn_of_unused_n_ctx(name, node, default):
    """Warn if N_CTX was given beside a CTX_INIT of another number of words."""
    words = len(readable(node.CTX_INIT).split())
    if words and node.N_CTX not in (words, default):
        warnings.warn(f"TRAINER.{name}.N_CTX {node.N_CTX} is not used: CTX_INIT has {words} words", stacklevel=3)


def coop_schedules(trainer, clip_model, n_ctx) -> Schedules:
    """A context carried to the end, or SCHEDULE_TEXT; nothing on the vision side."""
    text_layers, vision_layers = layers_of(clip_model)
    text = trainer.written("text", text_layers, n_ctx) or shallow(text_layers, n_ctx, "text")
    return Schedules(text, no_prompts(vision_layers))


@register_trainer
class CoOp(PromptTrainer):
    """CoOp: one context for all classes, or one for each; also on ResNets."""

    node_name = "COOP"
    checkpoint_prefix = ""
    not_in_checkpoints = (*PromptTrainer.not_in_checkpoints, "N_CTX")  # it shows, and with CTX_INIT it is not used

    def check_cfg(self, cfg):
        """Complain about choices before any work is done."""
        super().check_cfg(cfg)
        node = cfg.TRAINER.COOP
        with self.naming_the_node(node):
            one_of("CLASS_TOKEN_POSITION", node.CLASS_TOKEN_POSITION, POSITIONS)
            if node.get("SCHEDULE_TEXT") and node.CLASS_TOKEN_POSITION != "end":
                raise UserError("SCHEDULE_TEXT needs CLASS_TOKEN_POSITION end: deep prompts stand at the start")
        warn_of_unused_n_ctx("COOP", node, DEFAULTS.N_CTX)
        if node.CSC and node.CTX_INIT:
            warnings.warn("TRAINER.COOP.CSC is not used: CTX_INIT gives all classes one context", stacklevel=2)

    def build_learner(self, clip_model, classnames):
        """A context on the text side."""
        node = self.settings
        context = coop_context(node, clip_model, len(classnames) if node.CSC else None)
        schedules = coop_schedules(self, clip_model, context.n_ctx)
        return IndependentPromptLearner(classnames, clip_model, schedules, context, node.CLASS_TOKEN_POSITION)

    def summary(self, output, label, loss):
        """Loss, and accuracy on the batch in percent."""
        return {**super().summary(output, label, loss), "acc": compute_accuracy(output.logits, label)[0].item()}
