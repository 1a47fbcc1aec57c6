"""Differentiable Prompt Learning's search stage (DPL, arXiv 2501.00457): how many prompt tokens each layer gets."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from modprompt.checks import at_least, at_most
from modprompt.clip.tokens import readable
from modprompt.clip.towers import CLIP
from modprompt.engine.model import Output
from modprompt.engine.schedule import Schedules, Shape, by_lengths
from modprompt.fields import setting
from modprompt.methods.base import Method
from modprompt.methods.dpl import OWN_PLACES
from modprompt.methods.model import PromptedModel
from modprompt.methods.parts.capabilities import SavedAs
from modprompt.methods.parts.learners import Classes
from modprompt.methods.parts.losses import Objective
from modprompt.methods.search.learners import OptionsPromptLearner
from modprompt.methods.search.space import MOST, AlphaSettings


@dataclass(frozen=True, repr=False)
class DPLSearch(AlphaSettings, Method):
    """DPL's search: 0 to n_ctx_* prompt tokens in each layer of a side, weighted by alphas; DPL trains what it finds.

    In a layer the tokens serve only as keys and values, and are dropped after it, so that outputs can be mixed.
    """

    node = "TRAINER.DPLSEARCH"
    saved_as = SavedAs("MultiModalPromptLearner")

    n_ctx_vision: int = setting(4, "the maximum number of prompt tokens in a layer of the image encoder", least=0)
    n_ctx_text: int = setting(4, "the maximum number of prompt tokens in a layer of the text encoder", least=0)
    ctx_init: str = setting("a photo of a", "the words before the class name; these words are not learned")

    def check(self) -> None:
        at_least("N_CTX_VISION", self.n_ctx_vision, 0 if self.n_ctx_text else 1)
        at_most("N_CTX_TEXT", self.n_ctx_text, MOST)
        at_most("N_CTX_VISION", self.n_ctx_vision, MOST)

    @property
    def search(self) -> AlphaSettings:  # type: ignore[override]
        return self

    @property
    def wants_vision(self) -> bool:
        return self.n_ctx_vision > 0

    def schedules(self, shape: Shape) -> Schedules:
        text, vision = [self.n_ctx_text] * shape.text_layers, [self.n_ctx_vision] * shape.vision_layers
        return Schedules(
            by_lengths(text, "text", OWN_PLACES["text"]), by_lengths(vision, "vision", OWN_PLACES["vision"])
        )

    def learner(self, clip_model: CLIP, classes: Classes, schedules: Schedules) -> OptionsPromptLearner:
        return OptionsPromptLearner(classes.names, clip_model, schedules, readable(self.ctx_init))

    def objective(self, model: PromptedModel) -> Objective:
        return super().objective(model)._replace(log=_log)


def _log(output: Output, labels: Tensor, loss: Tensor) -> Mapping[str, Tensor]:
    return {"loss_train": loss}


@dataclass(frozen=True, repr=False)
class TrainerSupernet(DPLSearch):
    """DPLSearch with the name and the node of its repository."""

    node = "TRAINER.TRAINERSUPERNET"
    learner_of = "DPLSearch"
