"""How the run of a checkpoint made its test images: as a transform for others, and as plain values for exports."""

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from modprompt.clip.known import OPENAI_MEAN, OPENAI_STD, SHORTEST, SQUASH, Images
from modprompt.clip.load import image_transform, transform_of
from modprompt.clip.towers import CLIP
from modprompt.errors import UserError
from modprompt.io.files import Refused
from modprompt.io.image_files import FAMILY, PEOPLE, RULES, as_people
from modprompt.io.images import READ_AS
from modprompt.io.records import parse_yaml

_WAYS = ("nearest", "bilinear", "bicubic")
_COLOURS = {
    FAMILY: "RGB",  # Pillow's convert
    PEOPLE: "RGB, turned as EXIF says, 16 bits scaled by 65535, transparency on white, the first of several frames",
}


def transform_of_run(settings: Mapping[str, str], clip_model: CLIP, path: str) -> Callable[..., Tensor]:
    """The transform from a PIL image to (3, H, W) as a run's test images were made; without settings, its CLIP's.

    Of the run's settings, {dotted key: text}, only those of INPUT are read; `path` is their file, for messages. Raises
    UserError if they need something that is not supported here, or are not valid.
    """
    if "INPUT.SIZE" not in settings:
        return transform_of(clip_model)
    rule = settings.get(READ_AS, FAMILY)  # runs that do not record it read as the family
    try:
        if rule not in RULES:
            raise Refused(f"{READ_AS} {rule[:40]!r}")
        made: Any = image_transform(_images(settings, clip_model.visual.input_resolution), colours_first=True)
    except Refused as error:
        raise UserError(
            f"{path}: its run made images in an unsupported way ({error}): test it with modprompt train"
        ) from None
    if rule == PEOPLE:
        made.transforms.insert(0, as_people)
    return made  # type: ignore[no-any-return]


def _images(settings: Mapping[str, str], size: int) -> Images:
    steps = _values(settings, "TRANSFORMS", "[]", str)
    if "instance_norm" in steps or settings.get("INPUT.NO_TRANSFORM", "False") != "False":
        raise Refused(f"INPUT.TRANSFORMS {', '.join(steps)}, INPUT.NO_TRANSFORM {settings.get('INPUT.NO_TRANSFORM')}")
    if _values(settings, "SIZE", "", int) != (size, size):
        raise Refused(f"INPUT.SIZE {settings['INPUT.SIZE']}, its CLIP needs {size} x {size}")
    mean, std = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
    if "normalize" in steps:
        mean = _values(settings, "PIXEL_MEAN", str(list(OPENAI_MEAN)), float)
        std = _values(settings, "PIXEL_STD", str(list(OPENAI_STD)), float)
    how = settings.get("INPUT.INTERPOLATION", "bicubic")
    resize = settings.get("INPUT.RESIZE_MODE", SHORTEST)
    if how not in _WAYS or resize not in (SHORTEST, SQUASH) or not all(std) or (len(mean), len(std)) != (3, 3):
        raise Refused(f"INPUT.INTERPOLATION {how}, INPUT.RESIZE_MODE {resize}, INPUT.PIXEL_STD {list(std)}")
    return Images(size, mean, std, how, resize)


def _values(settings: Mapping[str, str], key: str, default: str, kind: Callable[[Any], Any]) -> tuple[Any, ...]:
    text = settings.get(f"INPUT.{key}", default)
    values = parse_yaml(text)
    try:
        if isinstance(values, list):
            return tuple(map(kind, values))
    except (TypeError, ValueError):
        pass
    raise Refused(f"INPUT.{key} {text[:40]}, not a list{'' if kind is str else ' of numbers'}")


def rule_of(preprocess: Callable[..., Tensor]) -> str:
    """The rule of io/image_files.py by which a transform of transform_of_run reads images."""
    return PEOPLE if as_people in getattr(preprocess, "transforms", ()) else FAMILY


def images_of(preprocess: Callable[..., Tensor]) -> Images:
    """How a transform of this project (clip.load.image_transform) makes images; UserError if it is another's."""
    steps = {type(step).__name__: step for step in getattr(preprocess, "transforms", ())}
    if not {"Resize", "CenterCrop", "Normalize"} <= set(steps):
        raise UserError("this transform of images is not known: use the one that modprompt.load_clip gives")
    resize, normalise = steps["Resize"], steps["Normalize"]
    sides = resize.size if isinstance(resize.size, (list, tuple)) else [resize.size]
    mean, std = (tuple(float(value) for value in values) for values in (normalise.mean, normalise.std))
    return Images(int(sides[0]), mean, std, resize.interpolation.value, SQUASH if len(sides) == 2 else SHORTEST)


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
    made = {f"INPUT.{key}": text for key, text in values.items()}
    return {**made, "INPUT.TRANSFORMS": "['normalize']", READ_AS: read_as}
