"""Learned prompts in files that describe themselves: method, classes, CLIP."""

import functools
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from modprompt.clip.facts import ClipFacts, facts_of
from modprompt.clip.structure import CLIP
from modprompt.engine.prompts import WHICH, class_texts
from modprompt.fields import Configured, as_config
from modprompt.io import checkpoint, same_run
from modprompt.io.records import KEY
from modprompt.io.tensors import write_tensors
from modprompt.methods.parts.checkpoint_view import CheckpointView
from modprompt.methods.parts.classes import Classes
from modprompt.methods.parts.learner import HEAD, Learner
from modprompt.methods.search.space import AlphaSettings
from modprompt.version import __version__

if TYPE_CHECKING:
    from modprompt.methods.base import Method


def view_of(method: "Method", learner: Learner) -> CheckpointView:
    """Prompts under the names that the family's checkpoints give them."""
    return CheckpointView(learner, functools.partial(_key, method, learner))


def _key(method: "Method", learner: Learner, name: str) -> str:
    """The name in the family's checkpoints of a parameter of the learner."""
    if name.startswith(HEAD):
        return name[len(HEAD) :]
    key = learner.checkpoint_key(name)
    return key if key.startswith(("image_encoder.", "text_encoder.")) else method.prefix + key


def made_with(method: "Method", clip: Mapping[str, str]) -> dict[str, str]:
    """What prompts of a method fit only with, as {name: text}; `clip` is what of_clip says of the CLIP."""
    facts = {
        **_compared(method),
        **settings_beside(method),
        "the method": method.learner_of or method.node_name(),
        **clip,
    }
    return {**facts, **searched_by(method), **content_hashes(method)}


def settings_beside(method: "Method") -> dict[str, str]:
    """Settings of a method's additions that a file must share, by dotted key, as text."""
    return {} if method.joined_by is None else _compared(method.joined_by)


def _compared(method: "Method") -> dict[str, str]:
    keys = {setting.key for setting in method.settings() if setting.compared}
    return {f"{method.node}.{key}": str(value) for key, value in method.as_config().items() if key in keys}


def of_clip(clip_model: CLIP) -> dict[str, str]:
    """What tells a CLIP from others, by weights and tokenizer, as {name: text}."""
    facts = facts_of(clip_model)
    fingerprint = getattr(clip_model, "fingerprint", facts.fingerprint)
    return {same_run.CLIP: fingerprint, **same_run.of_tokenizer(facts.as_record())}


def content_hashes(method: "Method") -> dict[str, str]:
    """The content that a method's settings name, as {name: text}, with a text that differs for each content."""
    return {name: text for name, text in method.metadata().items() if isinstance(text, str)}


def search_around(method: "Method") -> AlphaSettings | None:
    """The search for a method's schedule, if there is one and it is not the method itself."""
    return None if method.searching.always else method.search


def searched_by(method: "Method") -> dict[str, str]:
    """What alphas of a search depend on: its options, as {name: text}; empty for a method that does not search."""
    search = search_around(method)
    compared = () if search is None else (one for one in search.settings() if one.compared)
    return {f"SEARCH.{one.key}": str(getattr(search, one.field)) for one in compared}


def method_record(method: "Method") -> dict[str, Any]:
    """What a file says of a method; `config` has its settings under their names in configs, `search` its search's."""
    search = search_around(method)
    return {
        "name": type(method).__name__,
        "node": method.node,
        "learner": method.learner_of or method.node_name(),
        "settings": values_of(method),
        "config": method.as_config(),
        **({} if search is None else {"search": values_of(search)}),
        **method.metadata(),
    }


def values_of(settings: Configured) -> dict[str, Any]:
    """All settings by field, as configs have them."""
    return {one.field: as_config(getattr(settings, one.field)) for one in settings.settings()}


def classes_record(classes: Classes, learner: Learner) -> dict[str, Any]:
    """What a file says of classes: names in label order, data set, templates; numbers among equal names, if known.

    Also the classes of the training, if they are others and that matters.
    """
    own = getattr(learner, "templates", None) or learner.averaged
    which = "" if learner.described is None else f"{WHICH}[phrase]"
    templates = own or class_texts([f"{{}}{which}"], learner.prefix, learner.ending)
    repeated = {"which": list(classes.which)} if classes.which else {}
    told = learner.trained_on is not None and learner.trained_on != classes.names
    others = {"trained_on": list(learner.trained_on or ())} if told else {}
    return {
        "names": list(classes.names),
        "dataset": classes.dataset,
        "templates": list(templates),
        **repeated,
        **others,
    }


def describe(
    method: Mapping[str, Any],
    classes: Classes,
    clip: ClipFacts,
    learner: Learner,
    run: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The record of a model: what its file says of it.

    Args:
        method: its method_record.
        classes: the classes that it tells apart.
        clip: its CLIP.
        learner: its prompts.
        run: what is known of the run that made it, as plain values.
    """
    sides = learner.schedules._asdict().items()
    return checkpoint.record(
        method={**method, **learner.stands_on()},
        schedules={side: {"place": steps.place, "steps": [list(step) for step in steps]} for side, steps in sides},
        classes={**classes_record(classes, learner), **_phrases_of(learner)},
        clip=clip.as_record(),
        versions={"modprompt": __version__, "torch": str(torch.__version__), "python": platform.python_version()},
        run=dict(run or {}),
    )


def _phrases_of(learner: Learner) -> dict[str, Any]:
    """Phrases and sentences, of other classes too, so that no other file is needed; empty if there are none."""
    own = learner.sentences and learner.sentences.content
    sentences = {"sentences": own.as_record()} if own else {}
    return {**sentences, **({} if learner.described is None else {"phrases": learner.described.content.as_record()})}


def write(path: str | Path, state: Mapping[str, Any], record: Mapping[str, Any], epoch: int = 0) -> None:
    """Write a checkpoint, whole or not at all; what is there is replaced.

    Args:
        path: the file.
        state: the tensors, under the family's names.
        record: the result of describe().
        epoch: number of finished epochs.
    """
    write_tensors(str(path), {"state_dict": dict(state), "epoch": epoch, "val_result": None, KEY: dict(record)})
