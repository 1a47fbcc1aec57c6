"""Learned prompts as files that say what they are, and back."""

import functools
import platform
from pathlib import Path
from typing import Any, Dict, Mapping, Optional, Sequence, Union

import torch
from torch import nn

from modprompt import __version__
from modprompt.checks import check_name
from modprompt.clips import build
from modprompt.clips.facts import ClipFacts, called, facts_of
from modprompt.clips.load import load_clip
from modprompt.errors import UserError
from modprompt.fields import as_config
from modprompt.learners.view import CheckpointView, load_learner
from modprompt.methods.base import Method
from modprompt.methods.model import PromptedModel
from modprompt.methods.table import BY_NAME, row_of
from modprompt.runs import checkpoint
from modprompt.runs.checkpoint import Checkpoint, checkpoint_of_run
from modprompt.storage.seal import KEY
from modprompt.storage.tensors import write_tensors
from modprompt.storage.versioned import in_the_form_of, understood

_PLACES = {"text": "behind_start", "vision": "before_ln_pre"}  # where a side's prompt tokens stand


def view_of(model: PromptedModel) -> CheckpointView:
    """A model's prompts under the names that the family's checkpoints give them."""
    return CheckpointView(model.prompt_learner, functools.partial(model.method.key, model.prompt_learner))


def made_with(method: Method, fingerprint: str) -> Dict[str, str]:
    """What prompts of a method on a CLIP fit only with, as {name: text}."""
    compared = [one.key for one in method.settings() if one.compared]
    facts = {f"{method.node}.{key}": str(value) for key, value in method.as_config().items() if key in compared}
    facts.update({"the method": method.learner_of or method.node_name(), "the weights of CLIP": fingerprint})
    return facts


def method_record(method: Method) -> Dict[str, Any]:
    """What a file says of a method; `config` has its settings under their names in configs."""
    return {
        "name": type(method).__name__,
        "node": method.node,
        "learner": method.learner_of or method.node_name(),
        "settings": {one.field: as_config(getattr(method, one.field)) for one in method.settings()},
        "config": method.as_config(),
    }


def classes_record(model: PromptedModel) -> Dict[str, Any]:
    """What a file says of a model's classes: names in label order, data set, templates."""
    learner = model.prompt_learner
    templates = getattr(learner, "templates", [f"{learner.prefix} {{}}.".strip()])
    return {"names": list(model.classes.names), "dataset": model.classes.dataset, "templates": list(templates)}


def describe(
    model: PromptedModel, method: Optional[Mapping[str, Any]] = None, run: Optional[Mapping[str, Any]] = None
) -> Dict[str, Any]:
    """The record of a model: what its file says of it.

    Args:
        model: the model.
        method: its method_record, if not that of its method.
        run: what is known of the run that made it: plain values.
    """
    schedules = model.prompt_learner.schedules._asdict().items()
    return checkpoint.record(
        method=dict(method or method_record(model.method)),
        schedules={
            side: {"place": _PLACES[side], "steps": [list(step) for step in steps]} for side, steps in schedules
        },
        classes=classes_record(model),
        clip=model.clip_facts.as_record(),
        versions={"modprompt": __version__, "torch": str(torch.__version__), "python": platform.python_version()},
        run=dict(run or {}),
    )


def save(model: PromptedModel, path: Union[str, Path]) -> None:
    """Save a model's prompts, without CLIP, whole or not at all.

    Args:
        model: the model.
        path: the file; what is there is replaced.
    """
    epoch = model.average.epochs if model.average is not None else 0
    state = view_of(model).state_dict()
    write_tensors(str(path), {"state_dict": state, "epoch": epoch, "val_result": None, KEY: describe(model)})


def load(
    path: Union[str, Path],
    clip: Union[nn.Module, str, Path, None] = None,
    *,
    method: Optional[Method] = None,
    names: Optional[Sequence[str]] = None,
    epoch: Optional[int] = None,
    device: Union[str, torch.device, None] = None,
) -> PromptedModel:
    """A model from a file that `save` or a run wrote, or from a run's output folder. No generator is drawn from.

    Args:
        path: the file or folder.
        clip: the CLIP, or what load_clip takes; without it the one that the file names.
        method: for files that do not say it, the family's and those of our first version: e.g. MPL(n_ctx=2).
        names: the same for class names, in label order.
        epoch: which epoch's, of a folder; without it the best, or if there is none the last.
        device: where to load the CLIP to; CUDA if there is any, else the CPU. Not for a clip that is a module.

    Raises:
        UserError: if the file is damaged, does not fit, belongs to another CLIP, or does not say what it is and
            neither do the arguments.
    """
    file = checkpoint_of_run(path, epoch) if Path(path).is_dir() else str(path)
    content = checkpoint.read(file)
    method, names, dataset = _what(content, method, names, file)
    clip_model = _clip_of(content, clip, device, file)
    with torch.random.fork_rng(devices=[]):
        model = method.on(clip_model, names, dataset=dataset)
    load_learner(view_of(model), file, made_with(method, _known_fingerprint(content, clip_model)))
    if model.prompt_learner.bound and content.class_list != checkpoint.class_list(names):
        raise UserError(f"{file}: the contexts of single classes (CSC) were learned for other class names")
    return model.eval()


def _what(content: Checkpoint, method: Any, names: Any, path: str) -> Any:
    """Method, class names and data set of a file."""
    if not content.record:
        if method is None or names is None:
            raise UserError(
                f"{path} does not say what it is (it is the family's, or of our first version): give its method and class "
                'names, as in load(path, "ViT-B/16", method=MPL(n_ctx=2), names=[...])'
            )
        return method, tuple(names), ""
    if method is not None or names is not None:
        raise UserError(f"{path} says itself what it is: leave out method and names (other classes: .with_classes)")
    stated, classes = content.record.get("method", {}), content.record.get("classes", {})
    name = str(stated.get("name"))
    if name not in BY_NAME:
        raise UserError(
            f"{path} is of a method {name!r} that this modprompt has not: load it with the trainer that made it"
        )
    found = row_of(name).method.of(stated.get("settings", {}))
    return found, tuple(classes.get("names", ())), str(classes.get("dataset", ""))


def _clip_of(content: Checkpoint, clip: Any, device: Any, path: str) -> nn.Module:
    """The CLIP of a file: the one given, or the one that it names."""
    facts = ClipFacts.of_record({key: value for key, value in content.clip.items() if key in ClipFacts._fields})
    if clip is None:
        if facts.file or not facts.name:
            what = f"with the CLIP of the file {facts.file}" if facts.file else "with a CLIP that has no name"
            hint = f" ({facts.size} pixels, fingerprint {facts.fingerprint})" if facts.fingerprint else ""
            raise UserError(f"{path} was made {what}{hint}: give it, load(path, clip)")
        check_name(facts.name, build.known(), f"{path}: its CLIP")
        clip = facts.name
    if not isinstance(clip, nn.Module):
        clip = load_clip(clip, device)[0]
    mine = facts_of(clip).fingerprint
    known = getattr(clip, "fingerprint", mine)
    if facts.fingerprint and in_the_form_of(facts.fingerprint, known) != facts.fingerprint:
        raise UserError(
            f"{path} was made with another CLIP than {called(clip)}: it names {facts.file or facts.name or 'none'} with "
            f"fingerprint {facts.fingerprint}, this one's is {mine}"
        )
    return clip


def _known_fingerprint(content: Checkpoint, clip_model: nn.Module) -> str:
    mine = getattr(clip_model, "fingerprint", facts_of(clip_model).fingerprint)
    name = "the weights of CLIP"
    return understood(content.made_with, {name: mine}, "the file")[name]
