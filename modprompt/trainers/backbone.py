"""The CLIP model of a configuration, and the settings of INPUT, which follow from the model."""

import warnings
from collections.abc import Collection
from typing import Any

from dassl.config import cfg_default
from torchvision import transforms

from modprompt.clip import hub, known, lookup
from modprompt.clip.build import require_input_size
from modprompt.clip.load import architecture_of, images_of, load
from modprompt.clip.read import require_shape
from modprompt.clip.resolve import describes_itself
from modprompt.clip.spec import SQUASH, ClipSpec, Images, asked_of
from modprompt.clip.towers import CLIP
from modprompt.errors import UserError
from modprompt.io.settings import READ_AS, as_text

_TOLERANCE = 1e-6


def load_clip(cfg: Any) -> CLIP:
    """Return the CLIP model of a run.

    Raises:
        UserError: the errors of `modprompt.clip.load.load`.
    """
    return load(asked_of(cfg.MODEL.BACKBONE))


def input_texts(cfg: Any) -> dict[str, str]:
    """Return the settings of the image preprocessing as {dotted key: text}."""
    made = {f"INPUT.{key}": as_text(cfg.INPUT[key]) for key in Images().settings()}
    return {**made, READ_AS: str(cfg.INPUT.DECODING)}


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, str) or isinstance(other, str):
        return bool(one == other)
    return len(one) == len(other) and all(abs(a - b) < _TOLERANCE for a, b in zip(one, other))


def settings_of_images(cfg: Any, asked_for: Collection[str]) -> dict[str, Any]:
    """Return the values of INPUT that must be changed so that images are preprocessed as the CLIP model requires.

    They are the size, mean, standard deviation, interpolation and resize mode of images. A message names the changes.
    Settings from the command line are kept, with a warning; only a wrong size is an error. If the preprocessing of the
    model is unknown, only the size is compared.

    Args:
        cfg: the configuration of a run.
        asked_for: dotted keys of settings from the command line.

    Raises:
        UserError: if the CLIP model does not exist, its architecture is unknown, or it needs images of another size.
    """
    images = images_of(asked_of(cfg.MODEL.BACKBONE))
    if "INPUT.SIZE" in asked_for:
        require_input_size(images.size, *cfg.INPUT.SIZE)
    changes, kept = _compared(cfg.INPUT, images, asked_for)
    what = cfg.MODEL.BACKBONE.PATH or cfg.MODEL.BACKBONE.NAME
    if changes:
        how = (
            "" if images.stated else " (the weights do not state their preprocessing, so that of OpenAI's CLIP is used)"
        )
        said = (f"{key} {_short(cfg.INPUT[key])} -> {_short(value)}" for key, value in changes.items())
        print(f"The image preprocessing uses the settings of {what}{how}: {', '.join(said)}.")
    if kept and images.stated:
        warnings.warn(f"Images are not preprocessed as {what} expects: {', '.join(kept)}.", stacklevel=2)
    elif kept:
        text = (
            f"The weights of {what} do not state their image preprocessing, and the settings differ from OpenAI's "
            f"CLIP: {', '.join(kept)}."
        )
        warnings.warn(text, stacklevel=2)
    return {f"INPUT.{key}": value for key, value in changes.items()}


def warn_of_unused_name(cfg: Any, asked_for: Collection[str]) -> None:
    """Warn if the command line names a CLIP model, but weights from a file or folder are used."""
    path = cfg.MODEL.BACKBONE.PATH
    if path and {"MODEL.BACKBONE.NAME", "--backbone"} & set(asked_for):
        warnings.warn(
            f"MODEL.BACKBONE.NAME {cfg.MODEL.BACKBONE.NAME} is ignored, because the weights are read from "
            f"MODEL.BACKBONE.PATH {path}.",
            stacklevel=2,
        )


def settings_of_architecture(cfg: Any) -> dict[str, Any]:
    """Return the settings of the architecture (activation and attention heads) for weights that do not contain them.

    A message says them. ACTIVATION and HEADS stay if they are given. Empty if MODEL, or something that lies next to the
    file, says how it is run.

    Raises:
        UserError: if there is no such CLIP, or the file has another shape.
    """
    asked = asked_of(cfg.MODEL.BACKBONE)
    asked = asked._replace(heads=tuple(asked.heads))
    if asked.model or describes_itself(asked.path):
        return {}
    architecture, is_explicit = architecture_of(asked.name), bool(asked.activation or asked.heads)
    if architecture is None and is_explicit:
        raise UserError(
            f"MODEL.BACKBONE.ACTIVATION and MODEL.BACKBONE.HEADS are not supported for {asked.name}, whose encoders "
            "do not have the architecture of OpenAI's CLIP. Remove these settings."
        )
    if architecture is not None:
        activation, heads = asked.activation or architecture.activation, asked.heads or architecture.heads
        require_shape(ClipSpec("", asked.path, activation, heads), asked.name, architecture.shape)
        how = f"activation {activation}, heads {list(heads)} (text side, image side)"
    else:
        how = f"as open_clip runs {asked.name}"
    print(f"The weights in MODEL.BACKBONE.PATH {asked.path} are read as a {asked.name} model: {how}")
    if architecture is None or (known.is_tag(asked.name) and not is_explicit):
        return {"MODEL.BACKBONE.MODEL": asked.name}
    return {"MODEL.BACKBONE.ACTIVATION": activation, "MODEL.BACKBONE.HEADS": heads}


def _compared(node: Any, images: Images, asked_for: Collection[str]) -> tuple[dict[str, Any], list[str]]:
    """Return the settings of INPUT to change, and messages on explicit settings that do not match the CLIP model."""
    changes, kept = {}, []
    for key, value in images.settings().items():
        mine = node[key]
        if _same(mine, value):
            continue
        said = not (images.stated or key == "SIZE" or _same(mine, cfg_default.INPUT[key]))
        if not said and f"INPUT.{key}" not in asked_for:
            changes[key] = value
        elif key != "SIZE":
            kept.append(f"INPUT.{key} is {_short(mine)} instead of {_short(value)}")
    return changes, kept


def _short(value: Any) -> str:
    numbers = isinstance(value, (list, tuple))
    return f"[{', '.join(f'{number:.4g}' for number in value)}]" if numbers else str(value)


def squash(loaders: list[Any], size: tuple[int, int]) -> None:
    """Resize test images to a square instead of cropping them, which Dassl does not support.

    Raises:
        UserError: if the transform of a loader does not begin like the test transform of Dassl.
    """
    for loader in loaders:
        steps = list(getattr(loader.dataset.transform, "transforms", ()))
        whole = transforms.Resize(list(size), interpolation=getattr(steps[0], "interpolation", None)) if steps else None
        if whole is None or not [type(one).__name__ for one in steps[:2]] == ["Resize", "CenterCrop"]:
            raise UserError(
                "INPUT.RESIZE_MODE squash is not supported in this codebase, because the test transform of the "
                "codebase does not begin with Resize and CenterCrop. Run modprompt's own train.py instead."
            )
        loader.dataset.transform = transforms.Compose([whole, *steps[2:]])


def requires_squash(cfg: Any) -> bool:
    """Return True if test images are resized to a square."""
    return bool(cfg.INPUT.RESIZE_MODE == SQUASH)


def require_there(cfg: Any) -> None:
    """Raise UserError if the CLIP model of a run is unknown or not on disk; models on a hub are not checked."""
    asked = asked_of(cfg.MODEL.BACKBONE)
    if asked.path:
        images_of(asked)
    elif not asked.name.startswith(hub.PREFIX):
        lookup.require(asked.name, "MODEL.BACKBONE.NAME")
