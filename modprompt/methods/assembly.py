"""A method on a CLIP: what is checked, made and frozen by `.on()`."""

import functools
import logging
from typing import Any, cast

from torch import nn

from modprompt.clip.build import layers_of
from modprompt.clip.cast import rounded_to
from modprompt.clip.facts import called
from modprompt.clip.tokens import require_distinct_names, require_known_words
from modprompt.clip.towers import CLIP, kinds_of, tokenizer_of
from modprompt.engine.schedule import Schedules, Shape
from modprompt.errors import SettingError, UserError
from modprompt.methods.model import PromptedModel
from modprompt.methods.parts.classes import Classes
from modprompt.methods.parts.learner import Learner
from modprompt.methods.parts.needed_sides import require_sides
from modprompt.methods.records import search_around
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
    method = method.prepared()
    require_sides(method, kinds_of(clip), called(clip))
    shape = Shape(*layers_of(clip))
    was_trained = any(parameter.requires_grad for parameter in clip.parameters())
    search: Any = search_around(method)
    if search is None:
        learner = learner_of(method, clip, classes, method.sides(shape))
    else:
        learner = search.slots_of(method, clip, classes, shape)
    if was_trained:
        LOG.info("CLIP is frozen: requires_grad_(False) on all of its parameters")
    made: PromptedModel = method.model(learner, clip, classes, epochs)
    return made


def learner_of(method: Any, clip_model: CLIP, classes: Classes, schedules: Schedules) -> Learner:
    """A method's learner with what is added to its prompts, newly drawn.

    Raises:
        SettingError: if a setting does not fit that CLIP; the keys of what is added are named in full.
        UserError: as the method's `learner`.
    """
    make = functools.partial(method.learner, clip_model, classes, schedules)
    made: Learner = make()
    added = method.joined_by
    try:
        return made if added is None else cast(Learner, added.join(made, make, clip_model, classes))
    except SettingError as error:
        raise error.under(added.node) from None
