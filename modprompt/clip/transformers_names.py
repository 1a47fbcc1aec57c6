"""transformers' CLIPModel of OpenAI's shape: config.json as open_clip's model_cfg, its tensors by OpenAI's names."""

import re
from collections.abc import MutableMapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from modprompt.clip.known import ACTIVATIONS, QUICK_GELU, SHORTEST, SQUASH, Images
from modprompt.clip.open_clips import POSITIONS, TRANSFORMERS_FILE, VOCABULARY, ratio, read_config, three
from modprompt.errors import UserError

IMAGES_FILES = ("preprocessor_config.json", "processor_config.json")  # transformers 5 writes the second
_USUAL: dict[str, dict[str, Any]] = {
    "text_config": {
        "hidden_size": 512, "intermediate_size": 2048, "num_hidden_layers": 12, "num_attention_heads": 8,
        "hidden_act": QUICK_GELU, "vocab_size": VOCABULARY, "max_position_embeddings": POSITIONS,
        "layer_norm_eps": 1e-5,
    },
    "vision_config": {
        "hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12,
        "hidden_act": QUICK_GELU, "image_size": 224, "patch_size": 32, "num_channels": 3, "layer_norm_eps": 1e-5,
    },
}  # fmt: skip
_FIXED = ("vocab_size", "max_position_embeddings", "num_channels", "layer_norm_eps")

_OUTER = {
    "text_model.embeddings.token_embedding.weight": "token_embedding.weight",
    "text_model.embeddings.position_embedding.weight": "positional_embedding",
    "text_model.final_layer_norm.weight": "ln_final.weight",
    "text_model.final_layer_norm.bias": "ln_final.bias",
    "text_projection.weight": "text_projection",
    "vision_model.embeddings.class_embedding": "visual.class_embedding",
    "vision_model.embeddings.patch_embedding.weight": "visual.conv1.weight",
    "vision_model.embeddings.position_embedding.weight": "visual.positional_embedding",
    "vision_model.pre_layrnorm.weight": "visual.ln_pre.weight",
    "vision_model.pre_layrnorm.bias": "visual.ln_pre.bias",
    "vision_model.post_layernorm.weight": "visual.ln_post.weight",
    "vision_model.post_layernorm.bias": "visual.ln_post.bias",
    "visual_projection.weight": "visual.proj",
    "logit_scale": "logit_scale",
}
_LAYER = re.compile(r"^(text_model|vision_model)\.encoder\.layers\.(\d+)\.(.+)\.(weight|bias)$")
_PARTS = {
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
    "self_attn.out_proj": "attn.out_proj",
}
_JOINED = tuple(f"self_attn.{one}_proj" for one in "qkv")  # in this order


def read(folder: Path) -> tuple[dict[str, Any], Images]:
    """model_cfg and images of a folder of transformers'.

    Raises UserError if a config is missing or damaged, or is not that of a CLIPModel of OpenAI's shape.
    """
    path = folder / TRANSFORMERS_FILE
    config = read_config(path)
    if config.get("model_type") != "clip":
        raise UserError(
            f"{path}: model_type {config.get('model_type')!r} is not read in transformers' form, only clip: "
            "open_clip's form of SigLIP, MetaCLIP 2 and others is (docs/backbones.md)"
        )
    text, image = (_side(config, key, path) for key in _USUAL)
    act = text["hidden_act"]
    if act != image["hidden_act"] or act not in ACTIVATIONS:
        both = f"{' or '.join(ACTIVATIONS)} on both sides"
        raise UserError(f"{path}: hidden_act is {act} and {image['hidden_act']}: only {both} is supported")
    more = {"patch_size": image["patch_size"], "image_size": image["image_size"]}
    more["head_width"] = image["hidden_size"] // image["num_attention_heads"]
    return {
        "embed_dim": config.get("projection_dim", 512),
        "quick_gelu": act == QUICK_GELU,
        "text_cfg": {**_sizes(text), "heads": text["num_attention_heads"]},
        "vision_cfg": {**_sizes(image), **more},
    }, _images(folder, image["image_size"])


def _side(config: dict[str, Any], key: str, path: Path) -> dict[str, Any]:
    """What a side's config says; an older `*_config_dict` must agree in all that is read."""
    found = dict(_USUAL[key])
    given = [part for part in (config.get(key), config.get(f"{key}_dict")) if part is not None]
    if not given or not all(isinstance(part, dict) for part in given):
        raise UserError(f"{path}: {key} must be an object: it says how these weights are run")
    for name, usual in _USUAL[key].items():
        values = [part[name] for part in given if name in part]
        if any(value != values[0] for value in values):
            raise UserError(f"{path}: {key} and {key}_dict disagree on {name}: make them equal, or delete one")
        found[name] = value = values[0] if values else usual
        if name in _FIXED and value != usual:
            raise UserError(f"{path}: {key}.{name} is {str(value)[:40]}, only {usual} is supported")
        if isinstance(usual, int) and not (type(value) is int and 0 < value < 1 << 20):
            raise UserError(f"{path}: {key}.{name} must be a whole number above 0, got {str(value)[:40]}")
    return found


def _sizes(side: dict[str, Any]) -> dict[str, Any]:
    width = side["hidden_size"]
    return {"layers": side["num_hidden_layers"], "width": width, "mlp_ratio": ratio(side["intermediate_size"], width)}


def _images(folder: Path, size: int) -> Images:
    path = next((folder / name for name in IMAGES_FILES if (folder / name).is_file()), folder / IMAGES_FILES[0])
    config = read_config(path)
    config = config.get("image_processor", config)
    lacking = next((key for key in ("size", "image_mean", "image_std", "resample") if key not in config), "")
    if lacking:
        raise UserError(f"{path}: {lacking} is missing: it does not say how images are made")
    crops = config.get("do_center_crop", True)
    squash = isinstance(config["size"], dict) and set(config["size"]) == {"height", "width"}
    asked = [config["size"], *([config["crop_size"]] if crops and "crop_size" in config else [])]
    sides = [side for one in asked for side in (one.values() if isinstance(one, dict) else [one])]
    if set(sides) != {size} or not (squash or crops):
        raise UserError(f"{path}: images of {sides} pixels, cut: {crops}, do not fit the model, which needs {size}")
    usual = {"resample": (2, 3), **dict.fromkeys(("do_resize", "do_normalize", "do_rescale"), (True, None))}
    for key, allowed in usual.items():
        if config.get(key) not in allowed:
            raise UserError(f"{path}: {key} {config[key]!r} is not supported, only {allowed[0]}")
    mean, std = (three(config[key], f"{path}: {key}") for key in ("image_mean", "image_std"))
    how = {2: "bilinear", 3: "bicubic"}[config["resample"]]  # Pillow's numbers
    return Images(size, mean, std, how, SQUASH if squash else SHORTEST)


def to_openai(state: MutableMapping[str, Tensor], where: str) -> dict[str, Tensor]:
    """The tensors by OpenAI's names; `state` is emptied, so that no tensor is held twice.

    Raises UserError on a name that transformers' CLIPModel does not have, or a missing part.
    """
    found: dict[str, Tensor] = {}
    joined: dict[str, dict[str, Tensor]] = {}  # by OpenAI's name: query, key, value
    for name in list(state):
        tensor, match = state.pop(name), _LAYER.match(name)
        if name in _OUTER:
            found[_OUTER[name]] = tensor.t().contiguous() if name.endswith("projection.weight") else tensor
            continue
        side = "transformer" if match and match[1] == "text_model" else "visual.transformer"
        part = match[3] if match else ""
        if match and part in _PARTS:
            found[f"{side}.resblocks.{match[2]}.{_PARTS[part]}.{match[4]}"] = tensor
        elif match and part in _JOINED:
            joined.setdefault(f"{side}.resblocks.{match[2]}.attn.in_proj_{match[4]}", {})[part] = tensor
        else:
            raise UserError(f"{where} has a tensor that no CLIP of transformers has: {name}")
    for name, parts in joined.items():
        if len(parts) < len(_JOINED) or len({tuple(one.shape) for one in parts.values()}) > 1:
            raise UserError(f"{where} is not a whole CLIP: query, key or value of {name} lacks, or has another size")
        found[name] = torch.cat([parts[one] for one in _JOINED])
    return found
