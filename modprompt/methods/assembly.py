"""A method on a CLIP: what is checked, made and frozen by `.on()`."""

import functools
import logging
from typing import Any, cast

from torch import nn

from modprompt.clip.build import layers_of
from modprompt.clip.cast import rounded_to
from modprompt.clip.facts import called, name_in_configs
from modprompt.clip.known import OPENAI, plain
from modprompt.clip.spec import PROMPTED, RESNET, Kinds
from modprompt.clip.tokens import require_distinct_names, require_known_words
from modprompt.clip.towers import CLIP, kinds_of, tokenizer_of
from modprompt.engine.schedule import Schedules, Shape
from modprompt.errors import SettingError, UserError
from modprompt.io.settings import read_settings
from modprompt.methods.model import PromptedModel
from modprompt.methods.parts.capabilities import RunFacts
from modprompt.methods.parts.learners import Classes, Learner
from modprompt.methods.records import search_around
from modprompt.methods.shared_clip import require_clip, warn_of_rounding
from modprompt.methods.table import BY_NAME, config_of, configs_by_clip

_LARGE = "ViT-B/16"  # whose config serves for a CLIP without one
_HEADS = "zero-shot CLIP and heads (TipAdapter, ...)"
_OF_SIDE = {"text": "methods with text prompts only (CoOp, ...)", "image": "methods with image prompts only (VPT)"}


def require_sides(method: Any, kinds: Kinds, name: str) -> None:
    """Raise UserError if a side of a CLIP (of these kinds, called `name`) lacks layers for a method's prompts."""
    mine = " with ".join(type(one).__name__ for one in (method.joined_by, method) if one is not None)
    wanted = {"text": method.wants_text, "image": method.wants_vision}
    lacking = [side for side, wants in wanted.items() if wants and getattr(kinds, side) != PROMPTED]
    if not lacking:
        return
    if kinds == Kinds(PROMPTED, RESNET):
        raise UserError(
            f"{mine} adds prompts to a vision transformer, but {name} is a ResNet. Use ViT-B/16, ViT-B/32 or "
            "ViT-L/14, or use CoOp, CoCoOp or zero-shot CLIP on the ResNet."
        )
    sides, there = (
        " and ".join(lacking),
        [words for side, words in _OF_SIDE.items() if getattr(kinds, side) == PROMPTED],
    )
    what = ", ".join([*there, _HEADS])
    raise UserError(
        f"{name} does not support prompts in its {sides} encoder, but {mine} needs such prompts. Use {what}."
    )


LOG = logging.getLogger("modprompt")


def resolve(method: Any, clip: CLIP, shape: Shape, dataset: str) -> Any:
    """Return a method with values from a config file for the settings that the caller did not pass.

    The file is the one that a run of its trainer on that CLIP uses (configs/trainers.yaml). Numbers of layers from the
    file, or from the class, are limited to those of the CLIP, and a note says so. A value of the file that would leave
    a passed setting without effect is not used. A method that is not registered, or whose settings all have been
    passed, stays as it is.

    Args:
        method: the method.
        clip: the CLIP that it is put on.
        shape: the numbers of layers of that CLIP.
        dataset: the name of the data set; empty if it is not known.

    Raises:
        SettingError: if a passed setting does not go with those of the file.
    """
    name = type(method).__name__
    if not method.unset or name not in BY_NAME or BY_NAME[name].method is not type(method):
        return method
    configs = configs_by_clip(name)
    settings = read_settings(str(config_of(name, configs.get(name_in_configs(clip)) or configs[_LARGE])))
    keys = {one.key: f"{method.node}.{one.key}" for one in method.settings()}
    config = {key: settings[dotted] for key, dotted in keys.items() if dotted in settings}
    facts = RunFacts(dataset, "all", tests=False, openai=plain(called(clip)) in OPENAI)
    decided = method.decides({**type(method)().as_config(), **config}, facts)
    config.update({key: value for key, value in decided.items() if key in config})
    limits = {"text": shape.text_layers, "vision": shape.vision_layers, "both": min(shape)}
    values, notes = {}, []
    for one in method.settings():
        if one.field not in method.unset:
            continue
        value = one.fitted(config.get(one.key, one.default))
        limit = limits.get(one.layers_of)
        if limit and value > limit:
            notes.append(f"{keys[one.key]} is {limit} instead of {value}")
            value = limit
        values[one.field] = value
    if notes:
        layers = f"{shape.text_layers} text layers and {shape.vision_layers} image layers"
        print(f"note: {called(clip)} has {layers}, so {' and '.join(notes)}.")
    for field, other in method.replace_private(**values).unused().items():
        # a setting that was passed counts for more than one from the file, which is left out without a warning
        values.pop(field if field in method.unset else other, None)
    resolved = method.replace_private(**values, unset=frozenset())
    if resolved != method:  # else it is checked already, and would warn again
        resolved.check()
    return resolved


def on(method: Any, clip_model: nn.Module, classes: Classes, epochs: int, listed: bool) -> PromptedModel:
    """A method's prompts, newly drawn, on a CLIP; arguments and errors are those of `Method.on`."""
    if not isinstance(epochs, int) or isinstance(epochs, bool) or epochs < 0:
        raise UserError(f"epochs must be a non-negative whole number, got {epochs!r}.")
    clip = require_clip(clip_model)
    if rounded_to(clip):
        warn_of_rounding(clip)
    require_distinct_names(classes.names, listed, tokenizer=tokenizer_of(clip))
    require_known_words(classes.names, clip)
    shape = Shape(*layers_of(clip))
    method = resolve(method, clip, shape, classes.dataset).prepared()
    require_sides(method, kinds_of(clip), called(clip))
    was_trained = any(parameter.requires_grad for parameter in clip.parameters())
    search: Any = search_around(method)
    if search is None:
        learner = learner_of(method, clip, classes, method.sides(shape))
    else:
        learner = search.slots_of(method, clip, classes, shape)
    if was_trained:
        LOG.info("CLIP is frozen: requires_grad is set to False for all of its parameters.")
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
