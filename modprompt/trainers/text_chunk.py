"""How many of the classes' own tokens a run computes at a time, which changes how sums are rounded.

Without MODEL.TEXT_CHUNK free memory decides, at each start; result.json says it (None: all at once).
"""

from typing import Any

from modprompt.engine.model import PromptedCLIP


def decide(model: PromptedCLIP, cfg: Any) -> None:
    """Decide by MODEL.TEXT_CHUNK, in classes; if 0, by free memory."""
    model.limit_text(cfg.MODEL.TEXT_CHUNK)


def in_use(model: PromptedCLIP, cfg: Any) -> int | None:
    """How many of the classes' own tokens a run computes at a time; None if all of them."""
    images = 1
    if model.prompt_learner.needs_image:  # then each image of a batch has prompts of its own
        images = max(cfg.DATALOADER.TRAIN_X.BATCH_SIZE, cfg.DATALOADER.TEST.BATCH_SIZE)
    most, tokens = model.text_encoder.most_tokens, model.own_tokens * images
    return None if most is None or most >= tokens else most
