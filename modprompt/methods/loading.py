"""Loading a model from the file that it was saved to, or from a run's folder."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from modprompt.clip import hub, lookup
from modprompt.clip import known as known_clips
from modprompt.clip.facts import ClipFacts, called, facts_of
from modprompt.clip.load import load_clip
from modprompt.clip.resolve import describes_itself
from modprompt.clip.towers import CLIP
from modprompt.errors import UserError
from modprompt.io import checkpoint
from modprompt.io.checkpoint import Checkpoint
from modprompt.methods.base import Method
from modprompt.methods.model import PromptedModel
from modprompt.methods.parts.learners import classes_of
from modprompt.methods.records import first_names, made_with, of_clip
from modprompt.methods.search.over import Search
from modprompt.methods.shared_clip import require_clip
from modprompt.methods.table import BY_NAME, beside_of, row_of

_MOST_SHOWN = 300  # characters


def load(
    path: str | Path,
    clip: nn.Module | str | Path | None = None,
    *,
    method: Method | type[Method] | None = None,
    names: Sequence[str] | None = None,
    epoch: int | None = None,
    device: str | torch.device | None = None,
) -> PromptedModel:
    """A model from a file that it was saved to, or from a run's output folder. Random generators stay as they are.

    Its `.preprocess` is the transform from a PIL image to (3, H, W) by which the run made the images of its test:
    `model(model.preprocess(image)[None])` are the logits (1, C) of an image, for a model on the CPU.

    Args:
        path: the file or folder.
        clip: the CLIP, or what load_clip accepts; without it the one that the file names.
        method: for files that do not say it (the family's): e.g. MPL(n_ctx=2). For
            files of a method of your own, its class; the settings are in the file.
        names: for files that do not have them, the class names, in label order.
        epoch: which epoch of a folder; without it the best, or else the last.
        device: where to load the CLIP; CUDA if there is a GPU, else the CPU. Not for a clip that is a module.

    Raises:
        UserError: if the file is damaged, does not fit, belongs to another CLIP, or does not say what it is and
            neither do the arguments.
    """
    if epoch is not None and not Path(path).is_dir():
        raise UserError(
            f"The argument epoch={epoch} is only supported for the folder of a run, but {path} is not such a folder."
        )
    if clip is not None and not isinstance(clip, (nn.Module, str, Path)):
        raise UserError(
            f"clip must be a module, a name or a path, got {type(clip).__name__}. Pass the model, which is the first "
            "of the values that load_clip returns."
        )
    if device is not None and isinstance(clip, nn.Module):
        raise UserError(
            "device cannot be set if clip is a module. Move the module or the returned model to the device."
        )
    file = checkpoint.chosen_checkpoint(path, epoch)
    content = checkpoint.read(file)
    model = as_stated(content, file, clip, method=method, names=names, device=device)
    expected = made_with(model.method, of_clip(model.clip_model))
    model.load(content, file, expected)
    return model.eval()


def as_stated(
    content: Checkpoint,
    file: str,
    clip: nn.Module | str | Path | None = None,
    *,
    method: Method | type[Method] | None = None,
    names: Sequence[str] | None = None,
    device: str | torch.device | None = None,
) -> PromptedModel:
    """The model that a file (`file`, for messages) describes, its prompts newly drawn; all else is as for load."""
    method, names, dataset = _what(content, method, names, file)
    with torch.random.fork_rng(devices=[]):
        clip_model = clip_of(content, clip, device, file)
        with _said_by(file if content.record else ""):
            model = method.on(clip_model, names, dataset=dataset, listed=True)
    model.run_settings, model.source = content.settings, file
    return model


@contextlib.contextmanager
def _said_by(path: str) -> Iterator[None]:
    """Within it, settings that do not fit are blamed on a file, if there is one, not on the user."""
    try:
        yield
    except UserError as error:
        if not path or path in str(error):
            raise
        said = str(error)[:_MOST_SHOWN]
        raise UserError(
            f"The metadata in {path} does not match the contents of the file ({said}). Use another copy of the file."
        ) from None


def _what(
    content: Checkpoint, method: Method | type[Method] | None, names: Sequence[str] | None, path: str
) -> tuple[Method, tuple[str, ...], str]:
    """Method, class names and data set of a file."""
    if not content.record:
        if method is None or names is None:
            holds = first_names(content.state_dict) or "nothing"
            raise UserError(
                f"{path} does not record its method, because a Dassl-based codebase wrote the file (it contains "
                f'{holds}). Pass the method and the class names, for example load(path, "ViT-B/16", '
                "method=MPL(n_ctx=2), names=[...])."
            )
        if not isinstance(method, Method):
            raise UserError(f"method must be an instance of a method such as MPL(n_ctx=2), got {method!r}.")
        return method, classes_of(names).names, ""
    stated, classes = content.record["method"], content.record["classes"]
    name = stated["name"]
    own = method if isinstance(method, type) and method.__name__ == name and name not in BY_NAME else None
    if names is not None or (method is not None and own is None):
        raise UserError(
            f"{path} already records a method and class names, so the arguments `method` and `names` cannot be used. "
            "To use other classes, call .with_classes(names) on the loaded model."
        )
    found = stated_method(stated, classes, path, own)
    return found, tuple(classes["names"]), classes.get("dataset", "")


def stated_method(
    stated: Mapping[str, Any], classes: Mapping[str, Any], path: str, own: type[Method] | None = None
) -> Method:
    """The method that a file says it belongs to, with its settings; `own` is the class of one that is not modprompt's.

    stated, classes: what the file (`path`) says of them. Raises UserError if the method is unknown, or its
    settings do not fit.
    """
    name, module = stated["name"], stated.get("module")
    if own is None and name not in BY_NAME and isinstance(module, str):
        raise UserError(
            f"{path} belongs to the method {name} of the module {module[:80]}, which is not imported. Import the "
            f"module first (in Python), or add --import {module[:80]} (on the command line)."
        )
    if own is None and name not in BY_NAME:
        raise UserError(
            f"{path} was saved by the method {name!r}, which modprompt does not provide. If you defined the method "
            f"yourself, pass its class, as in load(path, method={name}). If another codebase wrote the file, load the "
            "file with that codebase."
        )
    with _said_by(path):
        found = (own or row_of(name).method).of(stated["settings"])
        found = found.restore(stated, classes, path)
        if "beside" in stated:
            added = stated["beside"]
            beside: Any = beside_of(str(added.get("name"))).method.of(added["settings"])
            found = beside.restore(added, classes, path).over(found)
        return Search.of(stated["search"]).over(found) if "search" in stated else found


def clip_of(
    content: Checkpoint,
    clip: nn.Module | str | Path | None,
    device: str | torch.device | None,
    path: str,
) -> CLIP:
    """The CLIP of a file: the one given, or the one that it names."""
    with _said_by(path):
        facts = ClipFacts.of_record({key: value for key, value in content.clip.items() if key in ClipFacts._fields})
    if clip is None:
        if facts.file or not facts.name:
            what = (
                f"with the CLIP model in the file {facts.file}" if facts.file else "with a CLIP model that has no name"
            )
            hint = f" ({facts.size} pixels, fingerprint {facts.fingerprint})" if facts.fingerprint else ""
            raise UserError(
                f"{path} was trained {what}{hint}. Pass this CLIP model as the second argument of load() in Python, "
                "or with --clip on the command line."
            )
        clip = known_clips.pinned(facts.name, facts.commit)
        if not clip.startswith(hub.PREFIX):
            lookup.require(facts.name, f"the CLIP model of {path}")
    clip_model = require_clip(clip) if isinstance(clip, nn.Module) else _loaded(clip, facts, device)
    mine = facts_of(clip_model, anew=isinstance(clip, nn.Module)).fingerprint
    known = getattr(clip_model, "fingerprint", mine)
    if facts.fingerprint not in ("", known):
        raise UserError(
            f"{path} was trained with the CLIP model {facts.file or facts.name or 'without a name'} (fingerprint "
            f"{facts.fingerprint}), but {called(clip_model)} has the fingerprint {mine}. Use the CLIP model that was "
            "used for training."
        )
    return clip_model


def _loaded(clip: str | Path, facts: ClipFacts, device: str | torch.device | None) -> CLIP:
    """A CLIP by name or path; weights that do not say how they are run are run as the file says."""
    path = lookup.named(str(clip)).path
    stated = facts.model or facts.activation
    if not path or not stated or describes_itself(path):
        return load_clip(clip, device)[0]
    if facts.model:
        return load_clip(clip, device, model=facts.model)[0]
    return load_clip(clip, device, activation=facts.activation, heads=facts.heads)[0]
