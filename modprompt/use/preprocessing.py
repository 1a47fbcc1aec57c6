"""A transform of images as plain values: for exported files, and to show what a model was given."""

from collections.abc import Callable
from typing import Any

from torch import Tensor

from modprompt.clip.known import SHORTEST, SQUASH, Images
from modprompt.errors import UserError
from modprompt.io.image_files import FAMILY, PEOPLE
from modprompt.io.images import READ_AS


def images_of(preprocess: Callable[..., Tensor]) -> Images:
    """How a transform of this project (clip.load.image_transform) makes images.

    Raises:
        UserError: if it is another project's, whose steps are not known.
    """
    steps = {type(one).__name__: one for one in getattr(preprocess, "transforms", ())}
    if not {"Resize", "CenterCrop", "Normalize"} <= set(steps):
        raise UserError("this transform of images is not known: use the one that modprompt.load_clip gives")
    resize, normalise = steps["Resize"], steps["Normalize"]
    both_sides = isinstance(resize.size, (list, tuple)) and len(resize.size) == 2
    size = resize.size[0] if isinstance(resize.size, (list, tuple)) else resize.size
    mean, std = (tuple(float(value) for value in values) for values in (normalise.mean, normalise.std))
    return Images(int(size), mean, std, resize.interpolation.value, SQUASH if both_sides else SHORTEST)


_COLOURS = {
    FAMILY: "RGB",  # Pillow's convert
    PEOPLE: "RGB, turned as EXIF says, 16 bits scaled by 65535, transparency on white, the first of several frames",
}


def as_record(images: Images, read_as: str = FAMILY) -> dict[str, Any]:
    """All steps from an image to numbers as plain values, for programs without this project."""
    return {
        "colours": _COLOURS[read_as],
        "resize": images.resize,
        "interpolation": images.interpolation,
        "crop": "centre",
        "size": images.size,
        "range": [0.0, 1.0],
        "mean": list(images.mean),
        "std": list(images.std),
        "layout": "NCHW",
    }


def as_settings(images: Images, read_as: str = FAMILY) -> dict[str, str]:
    """The same as settings of a run, {dotted key: text}."""
    values = {key: value if isinstance(value, str) else str(list(value)) for key, value in images.settings().items()}
    return {
        **{f"INPUT.{key}": text for key, text in values.items()},
        "INPUT.TRANSFORMS": "['normalize']",
        READ_AS: read_as,
    }
