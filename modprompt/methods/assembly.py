"""A method on a CLIP: what is checked, made and frozen by `.on()`."""

import functools
import logging
from typing import Any, cast

from torch import nn

from modprompt.clip.build import layers_of
from modprompt.clip.cast import rounded_to
from modprompt.clip.facts import called
from modprompt.clip.known import PROMPTED, RESNET, Kinds
from modprompt.clip.tokens import require_distinct_names, require_known_words
from modprompt.clip.towers import CLIP, kinds_of, tokenizer_of
from modprompt.engine.schedule import Schedules, Shape
from modprompt.errors import SettingError, UserError
from modprompt.methods.model import PromptedModel
from modprompt.methods.parts.learners import Classes, Learner
from modprompt.methods.records import search_around
from modprompt.methods.shared_clip import require_clip, warn_of_rounding

_HEADS = "zero-shot and heads (TipAdapter, ...)"
_OF_SIDE = {"text": "methods of the text side (CoOp, ...)", "image": "methods of the image side (VPT)"}


def require_sides(method: Any, kinds: Kinds, name: str) -> None:
    """Raise UserError if a side of a CLIP (of these kinds, called `name`) lacks layers for a method's prompts."""
    mine = " beside ".join(type(one).__name__ for one in (method.joined_by, method) if one is not None)
    wanted = {"text": method.wants_text, "image": method.wants_vision}
    lacking = [side for side, wants in wanted.items() if wants and getattr(kinds, side) != PROMPTED]
    if not lacking:
        return
    if kinds == Kinds(PROMPTED, RESNET):
        raise UserError(
            f"{mine} puts prompts into a vision transformer, but {name} is a ResNet: "
            "choose ViT-B/16, ViT-B/32 or ViT-L/14; CoOp, CoCoOp and zero-shot run on a ResNet"
        )
    sides, there = (
        " and ".join(lacking),
        [words for side, words in _OF_SIDE.items() if getattr(kinds, side) == PROMPTED],
    )
    what = ", ".join([*there, _HEADS])
    raise UserError(f"{name}: {mine} puts prompts into its {sides} side, where none can go: {what} run on it")


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
