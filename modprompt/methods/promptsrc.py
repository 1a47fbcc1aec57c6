"""Self-regulating prompts (PromptSRC, arXiv 2307.06948): IVLP kept near the frozen CLIP, averaged over epochs."""

from dataclasses import dataclass

from modprompt.fields import changed
from modprompt.methods.ivlp import IVLP
from modprompt.methods.parts.groups import Regularised


@dataclass(frozen=True, repr=False)
class PromptSRC(IVLP, Regularised):
    """PromptSRC: IVLP's learner with self-regularisation; only the defaults differ."""

    node = "TRAINER.PROMPTSRC"
    learner_of = "IVLP"

    n_ctx_vision: int = changed(IVLP, "n_ctx_vision", 4)
    n_ctx_text: int = changed(IVLP, "n_ctx_text", 4)
    text_loss_weight: float = changed(Regularised, "text_loss_weight", 25.0)
    image_loss_weight: float = changed(Regularised, "image_loss_weight", 10.0)
    logits_loss_weight: float = changed(Regularised, "logits_loss_weight", 1.0)
    gpa_std: float = changed(Regularised, "gpa_std", 1.0)
