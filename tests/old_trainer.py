"""A trainer as the version before had it in its docs; it must go on working for one version.

Growing prompts: every vision layer adds a token behind those that are there, scaled by a gate of its own.
"""

import torch
from modprompt.backbone import layers_of
from modprompt.context import words_or_random
from modprompt.plugin.config import register_defaults
from modprompt.plugin.prompt_trainer import PromptTrainer
from modprompt.plugin.registration import register_trainer
from modprompt.schedule import Schedule, Schedules, shallow
from torch import nn
from yacs.config import CfgNode

from modprompt.checks import at_least
from modprompt.methods.parts.independent import IndependentPromptLearner

DEFAULTS = CfgNode()
DEFAULTS.N_CTX = 4  # context tokens on the text side
DEFAULTS.CTX_INIT = "a photo of a"  # words the context starts from
DEFAULTS.PREC = "fp16"  # fp16, fp32, amp or bf16
DEFAULTS.PROMPT_DEPTH = 9  # vision layers that add a token
register_defaults("OLD_GROWING", DEFAULTS)


class GatedLearner(IndependentPromptLearner):
    """Vectors for both sides; those of the vision side come through a gate per layer."""

    def __init__(self, classnames, clip_model, schedules, context):
        super().__init__(classnames, clip_model, schedules, context)
        self.gates = nn.Parameter(torch.zeros(len(schedules.vision)))

    def forward(self):
        """The prompts of this moment: text, and for each layer of a side its new tokens (n, width) or None."""
        prompts = super().forward()
        gates = torch.sigmoid(self.gates).to(self.ctx.dtype)
        vision = [new if new is None else gate * new for gate, new in zip(gates, prompts.vision_additions)]
        return prompts._replace(vision_additions=vision)


@register_trainer
class OldGrowing(PromptTrainer):
    """Growing prompts on the vision side, a context on the text side."""

    node_name = "OLD_GROWING"

    def build_learner(self, clip_model, classnames):
        """The learner; called once, with the CLIP that the config names."""
        self.require_vision_transformer(clip_model)
        node, (text_layers, vision_layers) = self.settings, layers_of(clip_model)
        at_least("PROMPT_DEPTH", node.PROMPT_DEPTH, 1)
        context = words_or_random(node.CTX_INIT, node.N_CTX, clip_model)
        steps = [(0, int(layer < node.PROMPT_DEPTH)) for layer in range(vision_layers)]  # (remove, add)
        schedules = Schedules(shallow(text_layers, node.N_CTX, "text"), Schedule(steps, "vision"))
        return GatedLearner(classnames, clip_model, schedules, context)
