"""A method on a CLIP: what is checked, made and frozen by `.on()`."""

import logging
from typing import Any

from torch import nn

from modprompt.clip.build import layers_of
from modprompt.clip.cast import rounded_to
from modprompt.clip.facts import called
from modprompt.clip.sides import kinds_of, tokenizer_of
from modprompt.clip.tokens import require_distinct_names, require_known_words
from modprompt.engine.schedule import Shape
from modprompt.errors import UserError
from modprompt.methods.model import PromptedModel
from modprompt.methods.parts.classes import Classes
from modprompt.methods.parts.needed_sides import require_sides
from modprompt.methods.shared_clip import require_clip, warn_of_rounding

LOG = logging.getLogger("modprompt")


def on(method: Any, clip_model: nn.Module, classes: Classes, epochs: int, listed: bool) -> PromptedModel:
    """A method's prompts, newly drawn, on a CLIP; arguments and errors are those of `Method.on`."""
    if not isinstance(epochs, int) or isinstance(epochs, bool) or epochs < 0:
        raise UserError(f"epochs must be a whole number from 0 up, got {epochs!r}")
    clip = require_clip(clip_model)
    if rounded_to(clip):
        warn_of_rounding(clip)
    require_distinct_names(classes.names, listed, tokenizer=tokenizer_of(clip))
    require_known_words(classes.names, clip)
    slots, method = method.slots, method.prepared()
    require_sides(method, kinds_of(clip), called(clip))
    shape = Shape(*layers_of(clip))
    was_trained = any(parameter.requires_grad for parameter in clip.parameters())
    if slots is None:
        learner = method.make_learner(clip, classes, method.sides(shape))
    else:
        learner = slots.slots_of(method, clip, classes, shape)
    if was_trained:
        LOG.info("CLIP is frozen: requires_grad_(False) on all of its parameters")
    made: PromptedModel = method.model(learner, clip, classes, epochs)
    return made
