"""How many of the classes' own tokens a run computes at a time, which changes how sums are rounded.

Without MODEL.TEXT_CHUNK free memory decides, at each start; result.json says it (None: all at once).
"""

from modprompt.compat.run_settings import RunSettings
from modprompt.engine.model import PromptedCLIP


def decide(model: PromptedCLIP, config: RunSettings) -> None:
    """Decide by MODEL.TEXT_CHUNK, in classes; if 0, by free memory."""
    model.limit_text(config.model.text_chunk)


def in_use(model: PromptedCLIP, config: RunSettings) -> int | None:
    """How many of the classes' own tokens a run computes at a time; None if all of them."""
    images = 1
    if getattr(model.prompt_learner, "needs_image", False):  # then each image of a batch has prompts of its own
        images = max(config.train_x.batch_size, config.test_loader.batch_size)
    most, tokens = model.text_encoder.most_tokens, model.own_tokens * images
    return None if most is None or most >= tokens else most
