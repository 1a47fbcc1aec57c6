"""Visual prompt tuning (VPT, arXiv 2203.12119) of CLIP: only vision prompts, with fixed class prompts."""

from dataclasses import dataclass

from modprompt.checks import at_least
from modprompt.clip.towers import CLIP
from modprompt.engine.context import no_context
from modprompt.engine.schedule import Schedules, Shape, no_prompts
from modprompt.fields import changed, setting
from modprompt.methods.ivlp import DeepVision
from modprompt.methods.parts.learners import Classes, IndependentPromptLearner


@dataclass(frozen=True, repr=False)
class VPT(DeepVision):
    """VPT: IVLP's vision side; class features are computed once."""

    node = "TRAINER.VPT"
    wants_text = False  # class prompts are fixed

    ctx_init: str = setting("a photo of a", "the words before the class name; these words are not learned")
    prompt_depth_vision: int = changed(DeepVision, "prompt_depth_vision", 1)

    def check(self) -> None:
        at_least("PROMPT_DEPTH_VISION", self.prompt_depth_vision, 1)

    def schedules(self, shape: Shape) -> Schedules:
        return Schedules(no_prompts(shape.text_layers, "text"), self.vision_schedule(shape.vision_layers))

    def learner(self, clip_model: CLIP, classes: Classes, schedules: Schedules) -> IndependentPromptLearner:
        return IndependentPromptLearner(classes.names, clip_model, schedules, no_context(self.ctx_init, clip_model))
