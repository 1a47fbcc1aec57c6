"""A trained model to use: from a run's folder or one of its files, with the transform of its run's test images."""

import copy
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from modprompt.clip.spec import SHORTEST, SQUASH, Images
from modprompt.errors import UserError
from modprompt.io import checkpoint, result
from modprompt.io import folder as run_folder
from modprompt.io.checkpoint import Checkpoint, class_list, run_or_file
from modprompt.io.files import of_user
from modprompt.io.identity import is_of
from modprompt.io.image_files import FAMILY, PEOPLE, as_people
from modprompt.io.settings import read_settings
from modprompt.methods.heads.method import as_front, require_headable
from modprompt.methods.heads.model import HeadedModel
from modprompt.methods.loading import as_stated, load
from modprompt.methods.model import PromptedModel
from modprompt.methods.table import ZERO_SHOT, kind_of, row_of


class Trained(NamedTuple):
    """A trained model."""

    model: PromptedModel  # in eval mode, from images (B, 3, H, W) to logits (B, C)
    preprocess: Callable[..., Tensor]  # from a PIL image to (3, H, W), as the run's test images were made
    path: Path  # the checkpoint that it was read from; if the method trains nothing, the run's result.json

    @property
    def read_as(self) -> str:
        """The rule by which its run read images; `preprocess` uses it, too."""
        return PEOPLE if as_people in getattr(self.preprocess, "transforms", ()) else FAMILY

    def with_classes(self, names: Sequence[str]) -> "Trained":
        """The same model for other classes (names in label order), with shared prompts and CLIP.

        Raises UserError if the prompts belong to the classes that they were trained on (CSC), or a name does not fit.
        """
        if not isinstance(names, str) and tuple(names) == self.model.classes.names:
            return self
        try:
            return self._replace(model=self.model.with_classes(names))
        except UserError as error:
            raise UserError(f"{self.path}: {error}") from None


def open_trained(
    path: str | Path,
    *,
    clip: nn.Module | str | Path | None = None,
    names: Sequence[str] | None = None,
    epoch: int | None = None,
    device: str | torch.device | None = None,
) -> Trained:
    """The model of a run's output folder, or of a file. It draws from no generator.

    Args:
        path: the folder or file; also a folder of zero-shot CLIP's run, which has no checkpoint.
        clip: the CLIP, or what load_clip accepts; by default the one that the file names, or whose path the run has
            recorded (MODEL.BACKBONE.PATH).
        names: other classes than it was trained on, in label order.
        epoch: the epoch of a checkpoint in a folder; by default the best, or if there is none the last.
        device: for the CLIP; CUDA if there is any, else the CPU. Not used for a clip that is a module.

    Raises:
        UserError: as load; if its images cannot be made as its run made them; or if its prompts belong to the classes
            that it was trained on (CSC), but others are given.
    """
    try:
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:  # an unknown name, a missing GPU, a build without CUDA
        said = str(error).partition("\n")[0][:120]
        remedy = "Use cuda" if str(device).startswith("gpu") else "Use cpu, or leave out the device"
        raise UserError(
            f"The device {device!s} is not available to PyTorch on this machine ({said}). {remedy}."
        ) from None
    place = run_or_file(path)
    clip = recorded_clip(place) if clip is None else clip
    untrained = _untrained(place) if place.is_dir() else None
    if untrained is None:
        file = checkpoint.chosen_checkpoint(place, epoch)
        model = load(file, clip, device=device)
    elif epoch is not None:
        raise UserError(
            f"Epoch {epoch} was requested, but {path} belongs to a method without training, which has no epochs. "
            "Leave out the epoch."
        )
    else:
        file = str(place / result.FILE_NAME)
        model = as_stated(untrained, file, clip, device=device).eval()
    model.limit_text()
    trained = Trained(model, model.preprocess, Path(file))
    return trained if names is None else trained.with_classes(names)


def adapted(trained: Trained, name: str) -> Trained:
    """Return a copy of the prompts with a head that learns from the images that it is asked about, on the same CLIP.

    `name` is the head's method; the given model stays as it is. Raises UserError if the model has a head already, or
    prompts that no head is put on.
    """
    method: Any = row_of(name).method()
    model = trained.model
    if isinstance(model, HeadedModel):
        raise UserError(
            f"{trained.path} already has a head ({type(model.method).__name__}), but the head {name} can only be "
            "added to prompts that have no head. Choose a checkpoint of a prompt-learning method, or leave out "
            f"{name}."
        )
    require_headable(model.prompt_learner, model.method)
    learner = as_front(copy.deepcopy(model.prompt_learner))  # a front is frozen; the given model stays as it is
    headed = method.model(learner, model.clip_model, model.classes, 0).eval()
    headed.limit_text()
    headed.run_settings, headed.source = model.run_settings, model.source
    return trained._replace(model=headed)


def recorded_clip(place: Path) -> str | None:
    """The path of the CLIP that a run was started with, by its own config.yaml; None for a CLIP of a name.

    No file that a checkpoint names is opened: it may be a stranger's. Raises UserError if there is none at the path.
    """
    config = (place if place.is_dir() else place.absolute().parent.parent) / run_folder.CONFIG
    is_of_run = place.is_dir() or place.name.startswith("model")
    path = read_settings(str(config)).get("MODEL.BACKBONE.PATH", "") if is_of_run and config.is_file() else ""
    if path and not of_user(path).exists():
        raise UserError(
            f"The CLIP weights {path} recorded in {config} do not exist. Restore the file, or give the path of the "
            "CLIP weights with --clip (in Python: clip=...)."
        )
    return str(path) or None


def _untrained(folder: Path) -> Checkpoint | None:
    """The result of a run of zero-shot CLIP as a checkpoint without tensors; None for other runs."""
    holding = run_folder.read(folder)
    if holding.trained or holding.result is None or not trains_nothing(holding.result.get("method")):
        return None
    record = {"method": holding.result["method"], "classes": holding.result.get("class_names")}
    try:
        names = class_list(record["classes"]["names"])
        settings = {**(holding.result.get("settings") or {}), **(holding.result.get("input") or {})}
    except (LookupError, TypeError) as error:
        raise UserError(
            f"{folder / result.FILE_NAME} is damaged ({error}). Restore the file from a copy, or repeat the run."
        ) from None
    return Checkpoint({}, 0, {}, names, settings, holding.result.get("clip") or {}, record)


def recorded_threshold(trained: Trained) -> tuple[float, int]:
    """Return the probability that keeps 95% of a run's held-out validation images, and how many images there were.

    Raises:
        UserError: if the run's result.json is missing, has no threshold, or belongs to another checkpoint.
    """
    path = trained.path.absolute()
    file = path if path.name == result.FILE_NAME else path.parent.parent / result.FILE_NAME
    content = result.read(file.parent).result or {}
    if path != file and not is_of(content, path):
        raise UserError(
            f"--unknown auto is not possible, because no threshold is recorded for {path}: the result file {file} "
            "is missing or belongs to another model. Specify a probability instead, for example --unknown 0.5."
        )
    entry = content.get(result.UNKNOWN_BELOW)
    try:
        return float(entry["probability"]), int(entry["images"])  # type: ignore[index]
    except (LookupError, TypeError, ValueError):
        raise UserError(
            f"--unknown auto is not possible, because {file} contains no threshold. Either the run had no held-out "
            "validation images, or an earlier version of modprompt wrote the file. Specify a probability instead, "
            "for example --unknown 0.5."
        ) from None


def trains_nothing(method: Any) -> bool:
    """Whether a result's record of its method names one that learns nothing."""
    name = method.get("name") if isinstance(method, Mapping) else None
    return isinstance(name, str) and kind_of(name) == ZERO_SHOT


def images_of(preprocess: Callable[..., Tensor]) -> Images:
    """How a transform of this project (clip.load.image_transform) makes images."""
    steps = {type(step).__name__: step for step in getattr(preprocess, "transforms", ())}
    resize, normalise = steps["Resize"], steps["Normalize"]
    sides = resize.size if isinstance(resize.size, (list, tuple)) else [resize.size]
    mean, std = (tuple(float(value) for value in values) for values in (normalise.mean, normalise.std))
    return Images(int(sides[0]), mean, std, resize.interpolation.value, SQUASH if len(sides) == 2 else SHORTEST)
