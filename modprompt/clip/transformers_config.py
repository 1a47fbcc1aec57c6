"""Config files of a CLIPModel of transformers as a model_cfg of open_clip."""

from pathlib import Path
from typing import Any

from modprompt.clip.open_clips import TRANSFORMERS_FILE, read_config, three
from modprompt.clip.spec import ACTIVATIONS, QUICK_GELU, SHORTEST, SQUASH, Images
from modprompt.errors import UserError

_IMAGES = ("preprocessor_config.json", "processor_config.json")  # transformers 5 writes the second
_EPS = {"layer_norm_eps": 1e-5}
_USUAL: dict[str, dict[str, Any]] = {
    "text_config": {
        "hidden_size": 512, "intermediate_size": 2048, "num_hidden_layers": 12, "num_attention_heads": 8,
        "hidden_act": QUICK_GELU, **_EPS,
    },
    "vision_config": {
        "hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12,
        "hidden_act": QUICK_GELU, "image_size": 224, "patch_size": 32, **_EPS,
    },
}  # fmt: skip


def read(folder: Path) -> tuple[dict[str, Any], Images]:
    """Return the model_cfg and the image preprocessing of a folder in the format of transformers.

    Raises:
        UserError: if a config is missing or damaged, or does not describe a CLIPModel of OpenAI's architecture.
    """
    path = folder / TRANSFORMERS_FILE
    config = read_config(path)
    if config.get("model_type") != "clip":
        raise UserError(
            f"{path}: model_type {config.get('model_type')!r} is not supported. In the format of transformers, only "
            "the model_type clip is supported. Convert SigLIP, MetaCLIP 2 and other models to the format of "
            "open_clip (docs/backbones.md)."
        )
    sides = [_side(config, key, path) for key in _USUAL]
    ways = [{key: side[key] for key in ("hidden_act", *_EPS)} for side in sides]
    if ways not in [[{"hidden_act": act, **_EPS}] * 2 for act in ACTIVATIONS]:
        raise UserError(
            f"{path}: the text encoder has {ways[0]} and the image encoder {ways[1]}, which is not supported. Both "
            f"encoders must have the same hidden_act ({' or '.join(ACTIVATIONS)}) and {_EPS}."
        )
    (text, words), (image, pixels) = ((_sizes(side), side) for side in sides)
    image.update(patch_size=pixels["patch_size"], image_size=pixels["image_size"])
    image["head_width"] = pixels["hidden_size"] // pixels["num_attention_heads"]
    model = {"embed_dim": config.get("projection_dim", 512), "quick_gelu": words["hidden_act"] == QUICK_GELU}
    text["heads"] = words["num_attention_heads"]
    return {**model, "text_cfg": text, "vision_cfg": image}, _images(folder, image["image_size"])


def _side(config: dict[str, Any], key: str, path: Path) -> dict[str, Any]:
    """Return the settings of an encoder; an entry `*_config_dict` of older versions must not contradict them."""
    given, older = config.get(key) or {}, config.get(f"{key}_dict") or {}
    if not isinstance(given, dict) or not isinstance(older, dict) or not (given or older):
        raise UserError(
            f"{path}: {key} must be a JSON object with the settings of the encoder. Download the file again."
        )
    found = {name: given.get(name, older.get(name, usual)) for name, usual in _USUAL[key].items()}
    for name, value in found.items():
        if older.get(name, value) != value:
            raise UserError(
                f"{path}: {key} and {key}_dict have different values for {name}. Make the values equal, or delete "
                f"{key}_dict."
            )
        if isinstance(_USUAL[key][name], int) and not (type(value) is int and 0 < value < 1 << 20):
            raise UserError(f"{path}: {key}.{name} must be a whole number of at least 1, got {str(value)[:40]}.")
    return found


def _sizes(side: dict[str, Any]) -> dict[str, Any]:
    width, hidden = side["hidden_size"], side["intermediate_size"]
    ratio = hidden // width if hidden % width == 0 else (hidden + 0.5) / width  # open_clip rounds the product down
    return {"layers": side["num_hidden_layers"], "width": width, "mlp_ratio": ratio}


def _images(folder: Path, size: int) -> Images:
    path = next((folder / name for name in _IMAGES if (folder / name).is_file()), folder / _IMAGES[0])
    config = read_config(path)
    config = config.get("image_processor", config)
    lacking = next((key for key in ("size", "image_mean", "image_std", "resample") if key not in config), "")
    if lacking:
        raise UserError(
            f"{path}: the key {lacking} is missing, so the preprocessing of images is unknown. Download the file again."
        )
    crops = config.get("do_center_crop", True)
    squash = isinstance(config["size"], dict) and set(config["size"]) == {"height", "width"}
    asked = [config["size"], *([config["crop_size"]] if crops and "crop_size" in config else [])]
    sides = [side for one in asked for side in (one.values() if isinstance(one, dict) else [one])]
    if any(side != size for side in sides) or not (squash or crops):
        raise UserError(
            f"{path}: the model needs images of {size} x {size} pixels, but the preprocessing has the sizes {sides} "
            f"and do_center_crop {crops}. Use the file that belongs to the model."
        )
    usual = {"resample": (2, 3), **dict.fromkeys(("do_resize", "do_normalize", "do_rescale"), (True, None))}
    for key, allowed in usual.items():
        if config.get(key) not in allowed:
            raise UserError(f"{path}: {key} {config[key]!r} is not supported. Only {allowed[0]} is supported.")
    mean, std = (three(config[key], f"{path}: {key}") for key in ("image_mean", "image_std"))
    how = {2: "bilinear", 3: "bicubic"}[config["resample"]]  # Pillow's numbers
    return Images(size, mean, std, how, SQUASH if squash else SHORTEST)
