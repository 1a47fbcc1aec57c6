"""Checkpoints of learned prompts: their records (method, classes, CLIP), and loading them into a learner.

Checkpoints of modprompt contain only the learned parameters. Checkpoints of the original repositories, which often
contain the whole CLIP model, can be loaded as well.
"""

import functools
import json
import platform
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from modprompt.checks import some
from modprompt.clip.facts import ClipFacts, facts_of
from modprompt.clip.towers import CLIP
from modprompt.engine.prompts import WHICH, class_texts
from modprompt.errors import UserError
from modprompt.fields import Configured, as_config
from modprompt.io import checkpoint, identity
from modprompt.io.checkpoint import Checkpoint, class_list
from modprompt.io.files import Refused
from modprompt.io.identity import OF_METHODS, SOURCES, apart, differing
from modprompt.io.records import KEY
from modprompt.io.settings import as_text
from modprompt.io.tensors import require_learned, write_safetensors, write_tensors
from modprompt.io.text import one_line
from modprompt.methods.named_files import FRONT
from modprompt.methods.own import imported_sources
from modprompt.methods.parts.learners import HEAD, Classes, Learner
from modprompt.methods.search.space import AlphaSettings
from modprompt.methods.table import is_own, row_of
from modprompt.version import __version__

if TYPE_CHECKING:
    from modprompt.methods.base import Method


PREFIX = "prompt_learner."
CLASS_TOKENS = ("token_prefix", "token_suffix")  # the embedded class names, which are not learned
# names of learned parameters that some methods of other repositories store inside the encoders
_BESIDE = ("film_lp_img.", "film_lp_text.", "linear_probe_proj.")  # of a joint head next to the learner
_DEEP_PROMPT = (".VPT", ".VPT_shallow", "image_encoder.proj_rep", "image_encoder.A", "image_encoder.B")
COUNTS = ".num_batches_tracked"  # a counter of a BatchNorm layer
_OF_CLIP = ("image_encoder.", "text_encoder.", "logit_scale")
_FROZEN = ("ZS_image_encoder.", "ZS_image.")  # PromptSRC and DPL store parts of a frozen CLIP inside the learner


class CheckpointView(nn.Module):
    """Wraps a learner so that its tensors have the names used in checkpoints.

    Args:
        learner: the learner.
        key: returns the name of a tensor in checkpoints for its name in the learner.
    """

    def __init__(self, learner: Learner, key: Callable[[str], str]):
        super().__init__()
        self.learner = learner
        self.keys = {name: key(name) for name in learner.state_dict()}
        self.names = {
            _bare(key): name for name, key in self.keys.items()
        }  # names in the learner by names in the checkpoint

    def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Tensor]:  # type: ignore[override]
        """Return the learned parameters, saved buffers and further entries of a file by their names in checkpoints."""
        own = self.learner.state_dict(*args, **kwargs)
        return {**{self.keys[name]: value for name, value in own.items()}, **self.learner.beside()}

    def load_state_dict(self, state_dict: Mapping[str, Any], *args: Any, **kwargs: Any) -> Any:
        """Load what `state_dict` returned; further entries of the file are in the learner already."""
        names, aside = {key: name for name, key in self.keys.items()}, self.learner.beside()
        own = {names.get(key, key): value for key, value in state_dict.items() if key not in aside}
        return self.learner.load_state_dict(own, *args, **kwargs)


def _bare(key: str) -> str:
    return key.removeprefix(PREFIX)


def learner_part(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the learned tensors of a checkpoint, without the prefix `prompt_learner.`.

    Empty tensors are left out, because the original DPL code stores one for each layer without prompts.
    """
    plain = {key.removeprefix("module."): value for key, value in state_dict.items()}
    deep = {key: value for key, value in plain.items() if key.endswith(_DEEP_PROMPT) or key.startswith(_BESIDE)}
    inner = {_bare(key): value for key, value in plain.items() if key.startswith(PREFIX)}
    if not inner:  # the learner was saved without the prefix
        inner = {key: value for key, value in plain.items() if not key.startswith(_OF_CLIP)}
    learned = {**inner, **deep}
    full = {key: value for key, value in learned.items() if not isinstance(value, Tensor) or value.numel()}
    return {key: value for key, value in full.items() if key not in CLASS_TOKENS and not key.startswith(_FROZEN)}


def count_classes(state_dict: Mapping[str, Tensor]) -> int:
    """Return the number of classes whose tokens a checkpoint contains; 0 if it contains no class tokens."""
    for key, value in state_dict.items():
        if key.endswith(CLASS_TOKENS[1]) and isinstance(value, Tensor) and value.dim():
            return value.shape[0]
    return 0


def _differences(mine: Mapping[str, Tensor], theirs: Mapping[str, Tensor]) -> str:
    for key in mine:
        if key not in theirs:
            return f"{key} is missing in the file"
        if theirs[key].shape != mine[key].shape:
            return (
                f"{key} has the shape {tuple(mine[key].shape)} in this model, but {tuple(theirs[key].shape)} in the "
                "file"
            )
    extra = [key for key in theirs if key not in mine]
    return f"the file also contains {extra[0]}, which this model does not have" if extra else ""


def first_names(tensors: Mapping[str, Any]) -> str:
    """Return the first names of the tensors of a file for a message, and how many more there are."""
    return some([one_line(name)[:60] for name in sorted(tensors)], 3)


def _require_fit(view: CheckpointView, theirs: Mapping[str, Tensor], path: str | Path) -> None:
    own = view.learner.state_dict()
    mine = {key: own[name] for key, name in view.names.items()}
    if not mine and not theirs:
        return
    if not set(mine) & set(theirs):
        holds = f", but contains {first_names(theirs)}" if theirs else ""
        raise UserError(
            f"{path} is not a checkpoint of this method. The file has no {next(iter(mine), 'prompts')}{holds}."
        )
    difference = _differences(mine, theirs)
    if difference:
        raise UserError(
            f"{path} does not fit this model: {difference}. Use the settings with which the checkpoint was trained."
        )


def require_made_with(content: Checkpoint, expected: Mapping[str, str], path: str | Path) -> None:
    """Raise UserError, which names the differences, if a checkpoint was made with another method, CLIP or settings.

    A checkpoint without facts is accepted. Warn if the source code of a custom method has changed since.

    Args:
        content: the checkpoint.
        expected: the facts of the model that loads the checkpoint, see `made_with`.
        path: the path of the checkpoint, for messages.
    """
    sources = content.record.get("method", {}).get(SOURCES)
    for module, digest in sources.items() if isinstance(sources, dict) else ():
        if imported_sources.get(module, digest) != digest:
            warnings.warn(
                f"{path} was created with a different version of the module {module}, so predictions may differ from "
                "the predictions at the end of the training. To be sure, restore the old version of the module, or "
                "train again.",
                stacklevel=2,
            )
    stated = content.made_with
    if stated and expected:  # our checkpoints record all of these facts that apply
        none = dict.fromkeys(OF_METHODS, "none")
        stated, expected = ({**none, **side} for side in (stated, expected))
    names = stated.keys() & expected.keys()
    sides = (  # a configuration can contain 2 or 2.0
        {name: as_text(side[name]) if name.startswith("TRAINER.") else side[name] for name in names}
        for side in (stated, expected)
    )
    other = [
        "{} (here {}, but {} in the checkpoint)".format(one.name, *apart(one.new, one.old or "empty"))
        for one in differing(*sides)
    ]
    if other:
        raise UserError(f"{path} was created with different settings: {'; '.join(other)}.")


def require_own_classes(content: Checkpoint, names: Sequence[str], path: str) -> None:
    """Raise UserError if class-specific contexts (CSC) in a checkpoint were learned for other classes."""
    if not content.class_list:
        warnings.warn(
            f"{path} contains a context for each class (CSC), but does not record the classes. Make sure that this "
            "model has the same classes as the training run, in the same order.",
            stacklevel=4,
        )
    elif content.class_list != class_list(names):
        raise UserError(
            f"{path} contains a separate context for each class (CSC), but these contexts were learned for other "
            "class names. Use the class names with which the contexts were learned."
        )


def load_learner(view: CheckpointView, path: str | Path, made_with: Mapping[str, str] | None = None) -> Checkpoint:
    """Load a checkpoint of modprompt or of an original repository into a learner, and return the content of the file.

    Args:
        view: the learner.
        path: the path of the checkpoint. Its class tokens are not used.
        made_with: the facts that the checkpoint must share, see `made_with`.

    Raises:
        UserError: if the file is not a complete checkpoint or does not fit; the message names the difference.
    """
    content = checkpoint.read(path)
    load_content(view, content, path, made_with)
    return content


def load_content(
    view: CheckpointView, content: Checkpoint, path: str | Path, made_with: Mapping[str, str] | None = None
) -> None:
    """Load the content of a checkpoint into a learner; the arguments and errors are those of `load_learner`."""
    theirs = {
        key: value
        for key, value in learner_part(view.learner.of_repository(content.state_dict, str(path))).items()
        if isinstance(value, Tensor) and not key.startswith(view.learner.not_read)
    }
    view.learner.take_sizes({view.names.get(key, key): value for key, value in theirs.items()})
    _require_fit(view, theirs, path)
    require_made_with(content, made_with or {}, path)
    if content.record:
        view.learner.require_stands_on(content.record["method"], str(path))
    try:
        require_learned({key: one for key, one in theirs.items() if not key.endswith(COUNTS)})
    except Refused as error:
        raise UserError(f"{path} is damaged ({error}). Use another copy of the file.") from None
    view.learner.load_state_dict({view.names[key]: value for key, value in theirs.items()})


def view_of(method: "Method", learner: Learner) -> CheckpointView:
    """Wrap a learner so that its tensors have the names used in checkpoints."""
    return CheckpointView(learner, functools.partial(_key, method, learner))


def _key(method: "Method", learner: Learner, name: str) -> str:
    """Return the name of a parameter in checkpoints."""
    if name.startswith(HEAD):
        return name[len(HEAD) :]
    key = learner.checkpoint_key(name)
    return key if key.startswith(("image_encoder.", "text_encoder.")) else method.saved_as.prefix + key


def made_with(method: "Method", clip: Mapping[str, str], record: Mapping[str, Any] | None = None) -> dict[str, str]:
    """Return the settings and hashes that a checkpoint must have to be loaded into a model of this method.

    Args:
        method: the method.
        clip: the facts of the CLIP model, see `of_clip`.
        record: the record of the method in files; by default `method_record`.
    """
    facts = identity.made_with(method_record(method) if record is None else record, clip)
    return {name: text for name, text in facts.items() if name not in _not_compared(method)}


def _not_compared(method: "Method") -> set[str]:
    """Return the dotted keys of settings that may differ between a checkpoint and the model that loads it."""
    search = search_around(method)
    nodes = [(one.node, one) for one in (method, method.joined_by) if one is not None]
    nodes += [] if search is None else [("SEARCH", search)]
    return {f"{node}.{setting.key}" for node, one in nodes for setting in one.settings() if not setting.compared}


def contents_named(method: "Method | type[Method]") -> dict[str, str]:
    """Return the settings of a method whose values are paths or CLIP models, with the names of their hashes."""
    methods = [one for one in (method, method.joined_by) if one is not None]
    settings = ((one.node, setting) for one in methods for setting in one.settings())
    return {f"{node}.{setting.key}": setting.content for node, setting in settings if setting.content}


def of_clip(clip_model: CLIP) -> dict[str, str]:
    """Return hashes that identify a CLIP model: its weights and its tokenizer."""
    facts = facts_of(clip_model)
    return identity.of_clip(getattr(clip_model, "fingerprint", facts.fingerprint), facts.as_record())


def content_hashes(method: "Method") -> dict[str, str]:
    """Return hashes of the files and CLIP models to which the settings of a method refer, as {name: hash}."""
    return {name: text for name, text in method.metadata().items() if isinstance(text, str)}


def search_around(method: "Method") -> AlphaSettings | None:
    """Return the settings of the schedule search of a method, or None if the method has no such search."""
    return None if isinstance(method, AlphaSettings) else method.search


def method_record(method: "Method") -> dict[str, Any]:
    """Return the description of a method that checkpoints and result.json contain.

    The entry `config` has the settings of the method by their names in config files, and `search` those of the search.
    """
    search = search_around(method)
    return {
        "name": type(method).__name__,
        **({"module": type(method).__module__} if is_own(type(method).__name__) else {}),
        **({SOURCES: sources} if (sources := sources_of(method)) else {}),
        "node": method.node,
        "learner": method.learner_of or method.node_name(),
        "settings": values_of(method),
        "config": method.as_config(),
        **({} if search is None else {"search": values_of(search)}),
        **method.metadata(),
    }


def sources_of(method: "Method") -> dict[str, str]:
    """Return hashes of the Python files that define a custom method, by module name."""
    names = (type(method).__name__, method.metadata().get(FRONT, {}).get("name", ""))
    modules = [row_of(name).method.__module__ for name in names if is_own(name)]
    return {module: imported_sources[module] for module in modules if module in imported_sources}


def values_of(settings: Configured) -> dict[str, Any]:
    """Return all settings by field, with their values as in config files."""
    return {one.field: as_config(getattr(settings, one.field)) for one in settings.settings()}


def classes_record(classes: Classes, learner: Learner) -> dict[str, Any]:
    """Return the entry about the classes in checkpoints: class names, data set and prompt templates.

    If classes have equal names, the record has their numbers. If the model was trained on other classes, and this
    changes its predictions, the record has the names of these classes, too.
    """
    own = learner.templates or learner.averaged
    which = "" if learner.described is None else f"{WHICH}[phrase]"
    templates = own or class_texts([f"{{}}{which}"], learner.prefix, learner.ending)
    repeated = {"which": list(classes.which)} if classes.which else {}
    told = learner.trained_on is not None and learner.trained_on != classes.names
    others = {"trained_on": list(learner.trained_on or ())} if told else {}
    names = {"names": list(classes.names), "dataset": classes.dataset, "templates": list(templates)}
    return {**names, **repeated, **others}


def describe(
    method: Mapping[str, Any],
    classes: Classes,
    clip: ClipFacts,
    learner: Learner,
    run: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return the description of a model that is stored in its checkpoint.

    Args:
        method: the record of the method, see `method_record`.
        classes: the classes of the model.
        clip: the facts of the CLIP model.
        learner: the learner.
        run: the record of the run that trained the model.
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
    """Return the class descriptions that a model uses, to be stored in its checkpoint."""
    own = learner.sentences and learner.sentences.content
    sentences = {"sentences": own.as_record()} if own else {}
    return {**sentences, **({} if learner.described is None else {"phrases": learner.described.content.as_record()})}


def write(path: str | Path, state: Mapping[str, Any], record: Mapping[str, Any], epoch: int = 0) -> None:
    """Write a checkpoint completely or not at all; a name that ends in .safetensors selects that format.

    Args:
        path: the path of the file.
        state: the tensors by their names in checkpoints.
        record: the record of the model, see `describe`.
        epoch: the number of finished epochs.
    """
    head = {"epoch": epoch, "val_result": None, KEY: dict(record)}
    if str(path).endswith(checkpoint.SAFETENSORS):
        write_safetensors(path, state, {KEY: json.dumps(head)})
    else:
        write_tensors(str(path), {"state_dict": dict(state), **head})
