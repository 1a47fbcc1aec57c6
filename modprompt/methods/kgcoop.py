"""Knowledge-guided Context Optimization (KgCoOp, arXiv 2303.13283): CoOp with class features near the frozen ones."""

import warnings
from dataclasses import dataclass

import torch
from torch import nn

from modprompt.clip.draws import draw_constructor
from modprompt.clip.towers import CLIP
from modprompt.engine.schedule import Schedules
from modprompt.fields import setting
from modprompt.methods.coop import PHOTO, CoOp, of_coop
from modprompt.methods.parts.capabilities import Repository
from modprompt.methods.parts.learners import Classes, IndependentPromptLearner

_DEAD = 512  # width of unused layers in the reference, a literal there


@dataclass(frozen=True, repr=False)
class KgCoOp(CoOp):
    """KgCoOp: CoOp's context, and a loss on the distance to the data set template's class features; also on ResNets."""

    node = "TRAINER.KGCOOP"
    own_words = PHOTO
    repository = Repository(shared={**of_coop("W"), "TRAINER.COCOOP.PREC": ""})

    ctx_init: str = setting(
        "", "the initial words of the context; True means a photo of a, empty means random initialization", switch=True
    )
    kg_weight: float = setting(
        1.0,
        "the weight of the KgCoOp loss, the distance between the learned and CLIP's original class features; "
        "the paper uses 8",
        key="W",
        least=0,
        compared=False,
    )

    def check(self) -> None:
        super().check()
        if self.words() not in ("", PHOTO):
            words = f'"{self.words()}", but the original code always starts from "{PHOTO}".'
            text = f"{self.node}.CTX_INIT: the context starts from {words}"
            warnings.warn(text, stacklevel=4)

    def learner(self, clip_model: CLIP, classes: Classes, schedules: Schedules) -> IndependentPromptLearner:
        """CoOp's learner; then what the reference draws for its teacher, and for layers that it never uses."""
        learner = super().learner(clip_model, classes, schedules)
        learner.not_read = ("bias_vectors", "meta_net.")
        nn.init.normal_(torch.empty(1, _DEAD, dtype=clip_model.dtype), std=0.02)
        draw_constructor(clip_model)
        nn.Linear(_DEAD, _DEAD)
        nn.Linear(_DEAD, _DEAD // 4, bias=False)
        nn.Linear(_DEAD // 4, _DEAD, bias=False)
        return learner
