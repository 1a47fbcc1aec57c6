"""Independent vision-language prompting (IVLP, arXiv 2210.03117): deep prompts on both sides, without coupling.

prompt_depth_vision 0 with n_ctx_vision 0 is deep language prompting, which runs on ResNets too.
"""

from dataclasses import dataclass

from modprompt.checks import at_least
from modprompt.clip.towers import CLIP
from modprompt.engine.context import words_or_random
from modprompt.engine.schedule import MOST_TOKENS, Schedule, Schedules, Shape, no_prompts, replacement
from modprompt.fields import setting
from modprompt.methods.parts.capabilities import SavedAs
from modprompt.methods.parts.groups import LearnedText, PromptsVision, written_out
from modprompt.methods.parts.learners import Classes, IndependentPromptLearner


@dataclass(frozen=True, repr=False)
class DeepVision(PromptsVision):
    """Vision prompts with parameters of their own, replaced before each layer."""

    n_ctx_vision: int = setting(
        2, "the number of prompt tokens in each layer of the image encoder", least=0, most=MOST_TOKENS
    )
    prompt_depth_vision: int = setting(
        9,
        "the number of layers in the image encoder that receive prompts; 0 for no image prompts",
        least=0,
        layers_of="vision",
    )

    @property
    def wants_vision(self) -> bool:
        return bool(self.prompt_depth_vision or self.schedule_vision)

    def vision_schedule(self, layers: int) -> Schedule:
        """Replacement on prompt_depth_vision layers, or schedule_vision."""
        if not self.wants_vision:
            return no_prompts(layers)
        n, depth = self.n_ctx_vision, self.prompt_depth_vision
        written = written_out("vision", self.schedule_vision, layers, n, "N_CTX_VISION")
        at_least("N_CTX_VISION", n, 0 if written else 1)
        return written or replacement(layers, depth, n, "vision", "PROMPT_DEPTH_VISION")


@dataclass(frozen=True, repr=False)
class IVLP(LearnedText, DeepVision):
    """IVLP: replacement on both sides, with parameters of their own."""

    node = "TRAINER.IVLP"
    saved_as = SavedAs("VLPromptLearner")

    n_ctx_text: int = setting(
        2,
        "the number of context tokens, and of prompt tokens in each deeper layer of the text encoder",
        least=1,
        most=MOST_TOKENS,
    )
    ctx_init: str = setting("a photo of a", "the initial words of the context; used if N_CTX_TEXT is at most 4")
    prompt_depth_text: int = setting(
        9, "the number of layers in the text encoder that receive prompts", layers_of="text"
    )

    def schedules(self, shape: Shape) -> Schedules:
        n, depth = self.n_ctx_text, self.prompt_depth_text
        text = written_out("text", self.schedule_text, shape.text_layers, n, "N_CTX_TEXT")
        text = text or replacement(shape.text_layers, depth, n, "text", "PROMPT_DEPTH_TEXT")
        return Schedules(text, self.vision_schedule(shape.vision_layers))

    def learner(self, clip_model: CLIP, classes: Classes, schedules: Schedules) -> IndependentPromptLearner:
        context = words_or_random(self.ctx_init, self.n_ctx_text, clip_model, "N_CTX_TEXT")
        return IndependentPromptLearner(classes.names, clip_model, schedules, context)
