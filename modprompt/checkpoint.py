"""Prompt learners in checkpoints: ours hold the learner alone, the reference's the whole CLIP beside it."""

from pathlib import Path
from typing import Callable, Dict, Mapping, Optional, Union

from torch import Tensor, nn

from modprompt.errors import UserError
from modprompt.files import read_tensors

PREFIX = "prompt_learner."
_OF_THE_CLASSES = ("token_prefix", "token_suffix")  # they belong to the class names, not to what was learned


def learner_part(state_dict: Mapping[str, Tensor]) -> Dict[str, Tensor]:
    """The learner's tensors under bare names, from a checkpoint of a learner or of a whole prompted CLIP."""
    plain = {str(key): value for key, value in state_dict.items()}
    plain = {key[7:] if key.startswith("module.") else key: value for key, value in plain.items()}
    if any(key.startswith(PREFIX) for key in plain):
        plain = {key[len(PREFIX) :]: value for key, value in plain.items() if key.startswith(PREFIX)}
    return {key: value for key, value in plain.items() if key not in _OF_THE_CLASSES}


def _differences(mine: Mapping[str, Tensor], theirs: Mapping[str, Tensor]) -> str:
    for key in mine:
        if key not in theirs:
            return f"{key} is missing in the file"
        if theirs[key].shape != mine[key].shape:
            return f"{key} is {tuple(mine[key].shape)} here and {tuple(theirs[key].shape)} in the file"
    extra = [key for key in theirs if key not in mine]
    return f"the file also has {extra[0]}" if extra else ""


def load_learner(
    learner: nn.Module,
    path: Union[str, Path],
    describe: Callable[[Mapping[str, Tensor]], Mapping[str, object]],
    made_with: Optional[Mapping[str, str]] = None,
) -> int:
    """Load a checkpoint into a prompt learner.

    Args:
        learner: the learner.
        path: a checkpoint file, ours or the reference's.
        describe: the settings that show in a state dict, by name, for the message when it does not fit.
        made_with: what a checkpoint that says what it was made with must have been made with.

    Returns:
        The epoch of the checkpoint (0 if it has none).

    Raises:
        UserError: if the file is not a whole checkpoint or does not fit; what differs is named.
    """
    content = read_tensors(path)
    if not isinstance(content, dict) or not isinstance(content.get("state_dict", content), dict):
        raise UserError(f"{path} is not a checkpoint of a prompt learner")
    theirs = learner_part(content.get("state_dict", content))
    mine = dict(learner.state_dict())
    tensors = {key: value for key, value in theirs.items() if isinstance(value, Tensor)}
    if not set(mine) & set(tensors):
        raise UserError(f"{path} is not a checkpoint of a prompt learner: it has no {next(iter(mine))}")
    difference = _differences(mine, tensors)
    if difference:
        here, there = describe(mine), describe(tensors)
        settings = [
            f"{name} is {here[name]} here and {there.get(name)} in the file"
            for name in here
            if here[name] != there.get(name)
        ]
        raise UserError(f"{path} does not fit this model: {'; '.join(settings) or difference}")
    stated = content.get("made_with") or {}
    other = [
        f"{name} is {value} here and {stated[name]} in the file"
        for name, value in (made_with or {}).items()
        if stated.get(name, value) != value
    ]
    if other:
        raise UserError(f"{path} was made with other settings: {'; '.join(other)}")
    learner.load_state_dict(tensors)
    epoch = content.get("epoch", 0)
    return epoch if isinstance(epoch, int) else 0
