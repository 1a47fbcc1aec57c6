"""Modular Prompt Learning (arXiv 2502.14125): prompts added, removed and carried from layer to layer."""

from dataclasses import dataclass

from modprompt.clip.towers import CLIP
from modprompt.engine.context import placeholders
from modprompt.engine.schedule import MOST_TOKENS, Schedule, Schedules, TooManyTokens, modular
from modprompt.errors import SettingError
from modprompt.fields import setting
from modprompt.methods.parts.capabilities import Logging
from modprompt.methods.parts.groups import Coupled, Regularised
from modprompt.methods.parts.learners import Classes, CoupledPromptLearner


@dataclass(frozen=True, repr=False)
class MPL(Coupled, Regularised):
    """MPL: text prompts per layer; vision prompts projected from them, added, removed and carried."""

    node = "TRAINER.MPL"
    logging = Logging(examples=True)

    n_add_op: int = setting(
        2,
        "the number of projections that add prompts to each deep layer of the image encoder, N_CTX tokens each",
        least=1,
        most=MOST_TOKENS,
    )
    n_rm_op: int = setting(
        1, "the number of prompt tokens removed before each deep layer of the image encoder", least=0
    )
    ctx_init: str = setting("a photo of a", "the words after the learned context")

    def vision_rule(self, layers: int) -> Schedule:
        add = self.n_add_op * self.n_ctx
        try:
            return modular(layers, self.prompt_depth, self.n_ctx, self.n_rm_op, add, "vision")
        except TooManyTokens as error:
            raise SettingError(
                [("N_ADD_OP", f" {self.n_add_op} does not fit N_RM_OP {self.n_rm_op}: {error}")]
            ) from None

    def learner(self, clip_model: CLIP, classes: Classes, schedules: Schedules) -> CoupledPromptLearner:
        context = placeholders(self.ctx_init, self.n_ctx, clip_model)
        return CoupledPromptLearner(classes.names, clip_model, schedules, context)
