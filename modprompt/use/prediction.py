"""Classifying images of any folder with a trained model: found, and decoded while the model works, batch by batch."""

import os
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from modprompt.checks import one_of
from modprompt.clip.facts import called
from modprompt.clip.towers import logit_bias_of
from modprompt.engine.precision import require_finite
from modprompt.errors import UserError
from modprompt.io.files import PathLike, Refused, of_user
from modprompt.io.image_files import FAMILY, SUFFIXES, is_image_name, oddities, opened, read_rgb
from modprompt.methods.model import PromptedModel

_READERS = 8  # images that are decoded at the same time
_MOST_PIXELS = 100_000_000  # of one whose shorter side is scaled to the model's


SOFTMAX, SIGMOID = "softmax", "sigmoid"  # probabilities among all classes; each class judged by itself
RULES = (SOFTMAX, SIGMOID)


def require_rule(model: PromptedModel, rule: str) -> None:
    """Raise UserError unless a rule suits a model's logits."""
    one_of("--rule", rule, RULES)
    if rule == SOFTMAX:
        return
    if logit_bias_of(model.clip_model) is None:
        raise UserError(
            f"--rule sigmoid: {called(model.clip_model)} was not trained to judge each class by itself (it has no "
            "logit bias, as SigLIP has): use --rule softmax"
        )
    if model.has_own_logits:
        raise UserError(
            f"--rule sigmoid: {type(model.method).__name__} makes logits that are not scaled cosines, and trains them "
            "for a softmax: use --rule softmax"
        )


def shares_of(model: PromptedModel, logits: Tensor, rule: str = SOFTMAX) -> Tensor:
    """Probabilities (B, C) of logits (B, C) by a rule; the bias, shared by all classes, does not change a softmax."""
    bias = logit_bias_of(model.clip_model)
    if rule == SOFTMAX or bias is None:
        return logits.softmax(dim=-1)
    return (logits + float(bias.detach())).sigmoid()


class Prediction(NamedTuple):
    """A model's prediction for an image.

    image: its path.
    labels: the likeliest classes, likeliest first, as indices of the model's class names.
    probabilities: of these classes.
    fault: why it could not be read; then there are no labels.
    """

    image: Path
    labels: tuple[int, ...]
    probabilities: tuple[float, ...]
    fault: str = ""


class Found(NamedTuple):
    """Images, and entries among them that are left out: files with other names than images', and links to folders."""

    images: list[Path]
    left_out: list[Path]


def find_images(paths: Sequence[PathLike]) -> Found:
    """The named files, whatever they are, and the images in and below the named folders.

    Each is there once, a folder's are sorted; hidden files and folders are ignored.

    Raises:
        UserError: if a folder cannot be listed, or there is no image.
    """
    images: list[Path] = []
    left_out: list[Path] = []
    for path in map(of_user, paths):
        inside = _below(path) if path.is_dir() else [path]
        for one in inside:
            is_image = not path.is_dir() or (is_image_name(one.name) and not one.is_dir())
            (images if is_image else left_out).append(one)
    if not images:
        raise UserError(f"there is no image in {', '.join(map(str, paths))}: known endings are {' '.join(SUFFIXES)}")
    return Found(list(dict.fromkeys(images)), left_out)


def odd_ones(images: Sequence[Path]) -> dict[str, int]:
    """How many images the family reads differently from how people see them, by what is unusual about them."""

    def look(path: Path) -> list[str]:
        try:
            with opened(path) as image:
                return oddities(image)
        except (OSError, UserError, Refused):  # reported with its prediction
            return []

    with ThreadPoolExecutor(_READERS) as pool, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about odd metadata
        return dict(sorted(Counter(odd for found in pool.map(look, images) for odd in found).items()))


def _below(folder: Path) -> list[Path]:
    """Files below a folder, and links to folders, which are not followed."""

    def fail(error: OSError) -> None:
        raise UserError(f"cannot list {error.filename} ({error.strerror})")

    found: list[Path] = []
    for place, folders, files in os.walk(str(folder), onerror=fail):
        links = [name for name in folders if Path(place, name).is_symlink()]
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [Path(place, name) for name in (*files, *links) if not name.startswith(".")]
    return sorted(found)


def predict(
    model: PromptedModel,
    preprocess: Callable[..., Tensor],
    images: Sequence[Path],
    top: int = 5,
    batch_size: int = 64,
    read_as: str = FAMILY,
    rule: str = SOFTMAX,
) -> Iterator[Prediction]:
    """A model's predictions for images, in their order; those that cannot be read say why and stop nothing.

    Args:
        model: in eval mode.
        preprocess: from a PIL image to (3, H, W).
        images: their paths.
        top: how many classes for each; all if there are fewer.
        batch_size: images at a time.
        read_as: the rule by which the model's run read images.
        rule: one of RULES, from logits to probabilities.

    Raises:
        UserError: if that rule does not suit the model's logits.
        FloatingPointError: if a logit is not finite.
        OSError: if this machine fails, not an image.
    """
    require_rule(model, rule)
    most, device = min(top, len(model.classes.names)), model.logit_scale.device
    size = model.clip_model.visual.input_resolution

    def read(path: Path) -> Tensor | str:
        return _read(path, preprocess, size, read_as)

    for batch in _decoded(images, read, batch_size):
        tensors = [one for _, one in batch if isinstance(one, Tensor)]
        with torch.no_grad():
            logits = model(torch.stack(tensors).to(device)).float() if tensors else torch.zeros(0, most)
        require_finite(logits)
        probabilities, labels = (part.tolist() for part in shares_of(model, logits, rule).topk(most, dim=-1))
        rows = iter(zip(labels, probabilities))
        for path, one in batch:
            yield Prediction(path, (), (), one) if isinstance(one, str) else _prediction(path, *next(rows))


def _prediction(path: Path, labels: Sequence[int], probabilities: Sequence[float]) -> Prediction:
    return Prediction(path, tuple(labels), tuple(probabilities))


def _decoded(
    images: Sequence[Path], read: Callable[[Path], Tensor | str], batch_size: int
) -> Iterator[list[tuple[Path, Tensor | str]]]:
    """Batches of (path, image (3, H, W) or its fault); the next one is decoded while one is in use."""
    batches = [images[start : start + batch_size] for start in range(0, len(images), batch_size)]
    with ThreadPoolExecutor(_READERS) as pool:

        def begin(batch: Sequence[Path]) -> Iterator[Tensor | str]:
            return pool.map(read, batch)

        ahead = begin(batches[0]) if batches else iter(())
        for batch, following in zip(batches, [*batches[1:], ()]):
            now, ahead = ahead, begin(following)
            yield list(zip(batch, now))


def _read(path: Path, preprocess: Callable[..., Tensor], size: int, read_as: str) -> Tensor | str:
    try:
        image = read_rgb(path, read_as)
    except (FileNotFoundError, UserError) as error:
        return str(error)
    short, long = sorted(image.size)
    if size * size * long > _MOST_PIXELS * short:
        return f"cannot use the image {path}: it has {image.width} x {image.height} pixels, a strip: crop it"
    return preprocess(image)
