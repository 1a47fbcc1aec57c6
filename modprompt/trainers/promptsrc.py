"""Self-regulating prompts (PromptSRC, arXiv 2307.06948): IVLP held near the frozen CLIP, averaged over epochs."""

from modprompt.trainers.ivlp import IVLP, ivlp_node
from modprompt.trainers.nodes import register_defaults
from modprompt.trainers.registration import register_trainer
from modprompt.trainers.regularised_trainer import RegularisedTrainer, add_regularisation

DEFAULTS = ivlp_node(4)
add_regularisation(DEFAULTS, text=25, image=10, logits=1, mean=15, std=1)
register_defaults("PROMPTSRC", DEFAULTS)


@register_trainer
class PromptSRC(RegularisedTrainer, IVLP):
    """PromptSRC: IVLP's learner with self-regularisation."""

    node_name = "PROMPTSRC"
    method = IVLP.node_name  # the same learner
