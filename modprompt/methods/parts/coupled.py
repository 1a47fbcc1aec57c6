"""What MPL and MaPLe share: text prompts per layer, and vision prompts projected from them."""

from dataclasses import dataclass

from modprompt.engine.schedule import MOST_TOKENS, Schedule, Schedules, Shape, replacement
from modprompt.fields import setting
from modprompt.methods.parts.groups import LearnedText, PromptsVision


@dataclass(frozen=True, repr=False)
class Coupled(LearnedText, PromptsVision):
    """The text side replaces n_ctx tokens per layer; the vision side is the method's own."""

    folder = "MultiModalPromptLearner"

    n_ctx: int = setting(
        2, "context tokens in front of layer 0, and prompt tokens of each deep text layer", least=1, most=MOST_TOKENS
    )
    prompt_depth: int = setting(9, "layers that receive prompts")

    def vision_rule(self, layers: int) -> Schedule:
        """The vision side's schedule, unless schedule_vision writes one out; layer 0 adds n_ctx tokens."""
        raise NotImplementedError

    def schedules(self, shape: Shape) -> Schedules:
        """Replacement on the text side, the method's rule on the vision side, or what is written out."""
        text = self.written("text", self.schedule_text, shape.text_layers, self.n_ctx, "N_CTX")
        vision = self.written("vision", self.schedule_vision, shape.vision_layers, self.n_ctx, "N_CTX")
        text = text or replacement(shape.text_layers, self.prompt_depth, self.n_ctx, "text")
        return Schedules(text, vision or self.vision_rule(shape.vision_layers))
