"""The transform of images that belongs to a model: that of the test images of its run, or that of its CLIP."""

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from modprompt.clip.load import image_transform, transform_of
from modprompt.clip.spec import OPENAI_MEAN, OPENAI_STD, SHORTEST, SQUASH, Images
from modprompt.clip.towers import CLIP
from modprompt.errors import UserError
from modprompt.io.files import Refused
from modprompt.io.image_files import FAMILY, PEOPLE, RULES, as_people
from modprompt.io.records import parse_yaml

_DEFAULTS = {  # of runs that do not record it, as text
    "TRANSFORMS": "[]",
    "NO_TRANSFORM": "False",
    "PIXEL_MEAN": str(list(OPENAI_MEAN)),
    "PIXEL_STD": str(list(OPENAI_STD)),
    "INTERPOLATION": "bicubic",
    "RESIZE_MODE": SHORTEST,
    "DECODING": FAMILY,
}


def transform_of_run(settings: Mapping[str, str], clip_model: CLIP, path: str) -> Callable[..., Tensor]:
    """The transform from a PIL image to (3, H, W) as a run's test images were made; without settings, its CLIP's.

    Of the run's settings, {dotted key: text}, only those of INPUT are read; `path` is their file, for messages. Raises
    UserError if they need something that is not supported here, or are not valid.
    """
    if "INPUT.SIZE" not in settings:
        return transform_of(clip_model)
    texts = {key: settings.get(f"INPUT.{key}", _DEFAULTS.get(key, "")) for key in ("SIZE", *_DEFAULTS)}
    size = clip_model.visual.input_resolution
    try:
        values = {key: parse_yaml(text) for key, text in texts.items()}
    except Refused:
        values = texts  # as text none of the lists is one
    steps, how = values["TRANSFORMS"], values["RESIZE_MODE"]
    normalised = isinstance(steps, list) and "normalize" in steps
    mean, std = (values[key] for key in ("PIXEL_MEAN", "PIXEL_STD")) if normalised else ([0.0] * 3, [1.0] * 3)
    supported = {
        "TRANSFORMS": isinstance(steps, list) and "instance_norm" not in steps,
        "NO_TRANSFORM": values["NO_TRANSFORM"] is False,
        "SIZE": values["SIZE"] == [size, size],
        "PIXEL_MEAN": _are_three_numbers(mean),
        "PIXEL_STD": _are_three_numbers(std) and all(std),
        "INTERPOLATION": values["INTERPOLATION"] in ("nearest", "bilinear", "bicubic"),
        "RESIZE_MODE": how in (SHORTEST, SQUASH),
        "DECODING": values["DECODING"] in RULES,
    }
    for key, is_supported in supported.items():
        if not is_supported:
            raise UserError(
                f"{path}: the run used INPUT.{key} {texts[key][:60]}, but this command does not support this image "
                f"preprocessing (the CLIP model needs {size} x {size} pixels). Test the run with `modprompt train`."
            )
    images = Images(size, tuple(map(float, mean)), tuple(map(float, std)), values["INTERPOLATION"], how)
    made: Any = image_transform(images, colours_first=True)
    if values["DECODING"] == PEOPLE:
        made.transforms.insert(0, as_people)
    return made  # type: ignore[no-any-return]


def _are_three_numbers(values: Any) -> bool:
    return isinstance(values, list) and len(values) == 3 and all(type(value) in (int, float) for value in values)
