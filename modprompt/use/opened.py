"""Stands in for trained.py."""

from pathlib import Path
from typing import Any, Callable, NamedTuple, Optional, Sequence, Union

from torch import Tensor

from modprompt.clips.load import transform_of
from modprompt.methods.loading import load
from modprompt.methods.model import PromptedModel
from modprompt.runs.checkpoint import checkpoint_of_run


class Trained(NamedTuple):
    """A trained model."""

    model: PromptedModel
    preprocess: Callable[..., Tensor]
    path: Path


def open_trained(
    path: Union[str, Path],
    *,
    clip: Any = None,
    names: Optional[Sequence[str]] = None,
    epoch: Optional[int] = None,
    device: Any = None,
) -> Trained:
    """The model of a run's output folder, or of a file."""
    file = checkpoint_of_run(path, epoch) if Path(path).is_dir() else str(path)
    model = load(file, clip, device=device)
    return Trained(model if names is None else model.with_classes(names), transform_of(model.clip_model), Path(file))
