"""Classifying images of any folder with a trained model: found, and decoded while the model works, batch by batch."""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from modprompt.clip.facts import called
from modprompt.clip.towers import logit_bias_of
from modprompt.data.split_files import OF_OWN_IMAGES
from modprompt.engine.precision import require_finite
from modprompt.errors import UserError
from modprompt.io.files import PathLike, of_user
from modprompt.io.image_files import SUFFIXES, is_image_name, read_rgb
from modprompt.methods.model import PromptedModel
from modprompt.use.trained import Trained

_READERS = 8  # images that are decoded at the same time
_MOST_PIXELS = 100_000_000  # of one whose shorter side is scaled to the model's
SOFTMAX, SIGMOID = "softmax", "sigmoid"  # probabilities among all classes; each class judged by itself


class Prediction(NamedTuple):
    """A model's prediction for an image."""

    image: Path
    labels: Sequence[int] = ()  # the likeliest classes, likeliest first, as indices of the model's class names
    probabilities: Sequence[float] = ()  # of these classes
    fault: str = ""  # why it could not be read; then there are no labels


def require_rule(model: PromptedModel, rule: str) -> None:
    """Raise UserError unless a rule suits a model's logits."""
    why = ""
    if logit_bias_of(model.clip_model) is None:
        why = (
            f"{called(model.clip_model)} has no logit bias, that is, the CLIP was not trained to score each class "
            "independently"
        )
    elif model.has_own_logits:
        why = f"the logits of {type(model.method).__name__} are not scaled cosine similarities"
    if why and rule != SOFTMAX:
        raise UserError(f"--rule {rule} is not supported, because {why}. Use --rule {SOFTMAX}.")


def find_images(paths: Sequence[PathLike]) -> tuple[list[Path], list[Path]]:
    """The named files, whatever they are, and the images in and below the named folders; and what is left out of these.

    Each image is there once, a folder's are sorted; hidden files and folders are ignored. Left out are files with other
    names than images', and links to folders. Raises UserError if a folder cannot be listed, or there is no image.
    """

    def fail(error: OSError) -> None:
        raise UserError(
            f"Cannot list the folder {error.filename} ({error.strerror}). Check the permissions of the folder."
        )

    images: list[Path] = []
    left_out: list[Path] = []
    for path in map(of_user, paths):
        if not path.is_dir():
            images.append(path)
            continue
        below: list[Path] = []
        for place, folders, names in os.walk(path, onerror=fail):
            folders[:] = [name for name in folders if not name.startswith(".")]
            links = [name for name in folders if Path(place, name).is_symlink()]
            below += [Path(place, name) for name in (*names, *links) if not name.startswith(".")]
        for file in sorted(file for file in below if file.name not in OF_OWN_IMAGES):
            (images if is_image_name(file.name) and not file.is_dir() else left_out).append(file)
    if not images:
        raise UserError(
            f"No image found in {', '.join(map(str, paths))}. Supported file extensions: {', '.join(SUFFIXES)}."
        )
    return list(dict.fromkeys(images)), left_out


def predict(
    trained: Trained, images: Sequence[Path], top: int = 5, batch_size: int = 64, rule: str = SOFTMAX
) -> Iterator[Prediction]:
    """A model's predictions for images, in their order; those that cannot be read say why and stop nothing.

    Each has the `top` likeliest classes, all if there are fewer; `rule` is SOFTMAX or SIGMOID. Raises UserError if the
    rule does not suit the model's logits, FloatingPointError if a logit is not finite, OSError if this machine fails.
    """
    model = trained.model
    require_rule(model, rule)
    answer = model.begin()
    bias, most = logit_bias_of(model.clip_model), min(top, len(model.classes.names))
    with ThreadPoolExecutor(_READERS) as pool:

        def begin(first: int) -> Iterator[Tensor | str]:
            return pool.map(lambda path: _read(trained, path), images[first : first + batch_size])

        following = begin(0)
        for first in range(0, len(images), batch_size):
            batch, following = list(following), begin(first + batch_size)
            tensors = [image for image in batch if isinstance(image, Tensor)]
            rows: Iterator[tuple[list[int], list[float]]] = iter(())
            if tensors:
                with torch.no_grad():
                    logits = answer(torch.stack(tensors).to(model.logit_scale.device)).logits.float()
                    require_finite(logits)
                    shares = logits.softmax(dim=-1)
                    if rule == SIGMOID and bias is not None:
                        shares = (logits + float(bias)).sigmoid()
                probabilities, labels = (part.tolist() for part in shares.topk(most, dim=-1))
                rows = iter(zip(labels, probabilities))
            for path, image in zip(images[first : first + batch_size], batch):
                yield Prediction(path, fault=image) if isinstance(image, str) else Prediction(path, *next(rows))


def _read(trained: Trained, path: Path) -> Tensor | str:
    """An image (3, H, W), or its fault."""
    try:
        image = read_rgb(path, trained.read_as)
    except (FileNotFoundError, UserError) as error:
        return str(error)
    size = trained.model.clip_model.visual.input_resolution
    short, long = sorted(image.size)
    if size * size * long > _MOST_PIXELS * short:
        return (
            f"The image {path} has {image.width} x {image.height} pixels and is too long and narrow to be resized. "
            "Crop the image."
        )
    return trained.preprocess(image)
