"""Prompt-aligned Gradient (ProGrad, arXiv 2205.14865): CoOp whose steps do not go against the frozen CLIP's logits."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from modprompt.clip.draws import draw_constructor
from modprompt.clip.towers import CLIP
from modprompt.engine.context import Context, zeros_and_words
from modprompt.engine.model import Output
from modprompt.engine.schedule import MOST_TOKENS, Schedules
from modprompt.errors import SettingError
from modprompt.fields import changed, setting
from modprompt.methods.coop import CoOp, of_coop
from modprompt.methods.model import PromptedModel
from modprompt.methods.parts import templates
from modprompt.methods.parts.capabilities import Only, Repository
from modprompt.methods.parts.learners import Classes, IndependentPromptLearner, Learner
from modprompt.methods.parts.losses import Objective

_LOSS: dict[str, str | Only] = {
    "LOSS.NAME": Only("prograd"),
    "LOSS.T": "T",
    "LOSS.LAMBDA": "LAMBDA",
    "LOSS.GM": "",
    "LOSS.ALPHA": "",
}


@dataclass(frozen=True, repr=False)
class ProGrad(CoOp):
    """ProGrad: CoOp's context, starting from zeros and words, and projected gradients; also on ResNets."""

    node = "TRAINER.PROGRAD"
    repository = Repository(shared={**of_coop(), **_LOSS})
    teacher_words = templates.PROGRAD

    teacher_template: str = changed(CoOp, "teacher_template", "", compared=True)  # its words may be the context's
    n_ctx: int = setting(
        16,
        "the number of context tokens in the text encoder; with CTX_INIT, its words initialize the last "
        "tokens and zeros the others",
        most=MOST_TOKENS,
        compared=False,
    )
    ctx_init: str = setting(
        "",
        "the words at the end of the initial context; True uses the words of the teacher's template, empty "
        "means random initialization",
        switch=True,
    )
    prograd_lambda: float = setting(
        1.0,
        "the fraction of a gradient step that is removed where the step conflicts with CLIP's original "
        "logits (ProGrad)",
        key="LAMBDA",
        least=0,
        compared=False,
    )
    prograd_t: float = setting(
        1.0, "the temperature of the divergence from CLIP's original logits (ProGrad)", key="T", compared=False
    )

    def words(self, dataset: str = "") -> str:
        """The words in front of the name in the teacher's template, or the given ones, or none."""
        template = self.template(dataset)
        words = self.switched(template.partition("{}")[0].strip())
        if not words and self.ctx_init == "True":
            raise SettingError(
                [
                    (
                        "CTX_INIT",
                        f" True needs words before the class name, but the template {template!r} has "
                        "no words there. Set CTX_INIT to the initial words.",
                    )
                ]
            )
        return words

    def length(self) -> int:
        return self.n_ctx

    def context(self, clip_model: CLIP, classes: Classes, n_cls: int | None = None) -> Context:
        words = self.words(classes.dataset)
        return zeros_and_words(words, self.n_ctx, clip_model) if words else super().context(clip_model, classes, n_cls)

    def learner(self, clip_model: CLIP, classes: Classes, schedules: Schedules) -> IndependentPromptLearner:
        """CoOp's learner, after the draws of the reference's teacher."""
        draw_constructor(clip_model)
        return super().learner(clip_model, classes, schedules)

    def for_classes(self, learner: Any, clip_model: CLIP, classes: Classes) -> Learner:
        """The same prompts for other classes, before their data set's words where one stays fixed."""
        other = copy.copy(learner)
        if self.words(classes.dataset):
            start = self.context(clip_model, classes)
            other.prefix = start.prefix if learner.schedules.text.among_words else start.words
        return super().for_classes(other, clip_model, classes)

    def objective(self, model: PromptedModel) -> Objective:
        return super().objective(model)._replace(log=_log)


def _log(output: Output, labels: Tensor, loss: Tensor) -> Mapping[str, Tensor]:
    return {"xe_loss": loss}
