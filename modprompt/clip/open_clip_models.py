"""Building models of open_clip from a model_cfg and tensors."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from modprompt.clip import package
from modprompt.clip.open_clips import (
    TRANSFORMERS_FILE,
    image_size,
    is_stock_side,
    model_class,
    part_classes,
    read_config,
)
from modprompt.clip.tokenizers import Tokenizer
from modprompt.clip.towers import Tower, TowerCLIP
from modprompt.errors import UserError
from modprompt.programs import one_line

_UNTOLD = (
    "hf_model_name", "hf_tokenizer_name", "tokenizer_kwargs", "tokenizer_mode", "init_logit_bias", "multimodal_cfg",
)  # fmt: skip


def build(model: Mapping[str, Any], state: Mapping[str, Tensor], tokenizer: Tokenizer, where: str) -> TowerCLIP:
    """Build a model of open_clip in float32 and in eval mode; no random numbers are drawn.

    Args:
        model: the model_cfg.
        state: tensors with the names of open_clip.
        tokenizer: the tokenizer of the model.
        where: the name of the weights for messages.

    Raises:
        UserError: if a package is missing, or the tensors do not have exactly the names and shapes of the model.
            Position embeddings are not resized.
    """
    made = {**model, "nonscalar_logit_scale": False, "text_cfg": {**model["text_cfg"], "hf_model_pretrained": False}}
    if model["text_cfg"].get("hf_model_name"):
        package.transformers()
    try:
        with torch.random.fork_rng(devices=[]):
            module = model_class(model)(**made).float()  # a text side's config may name another type
    except Exception as error:  # whatever a package raises on unknown values
        raise UserError(
            f"open_clip cannot build a model from the config of {where} ({one_line(error)[:200]}). Check the config."
        ) from None
    try:
        module.load_state_dict(package.open_clip().model.convert_to_custom_text_state_dict(state))
    except RuntimeError as error:
        raise UserError(
            f"{where}: the weights do not match their config ({one_line(error)[:300].rstrip('.')}). Use the config "
            "that belongs to these weights."
        ) from None
    bias = None if module.logit_bias is None else float(module.logit_bias.detach())
    visual, side, size = module.visual, module.text, image_size(model, "")
    if is_stock_side(model, "vision_cfg"):
        visual.input_resolution = size
    else:
        visual = Tower(visual, size)
    if not is_stock_side(model, "text_cfg"):
        side = Tower(side)
    found = TowerCLIP(visual, side, tokenizer, int(model["embed_dim"]), float(module.logit_scale.detach()), bias)
    found.unshown = _unshown(model)
    return found.eval()


def text_config(model: Mapping[str, Any]) -> dict[str, Any]:
    """Return the config.json of a text encoder of transformers that a model_cfg names, or {} for other encoders."""
    if not model["text_cfg"].get("hf_model_name"):
        return {}
    path = Path(model["text_cfg"]["hf_model_name"]) / TRANSFORMERS_FILE
    found = read_config(path)
    if "auto_map" in found:
        raise UserError(
            f"{path}: auto_map refers to custom code, which modprompt never runs. Use a model without custom code."
        )
    return found


def _unshown(model: Mapping[str, Any]) -> str:
    """Return what the tensors of a model do not show as sorted JSON: its config without the defaults of open_clip."""
    told: dict[str, Any] = {}
    for key, one in model.items():
        if isinstance(one, dict):
            kind = None if key == "multimodal_cfg" else part_classes().get(key)  # of which all is told
            other = (name for name in one if name not in _UNTOLD and one[name] != getattr(kind, name, None))
            told[key] = {name: one[name] for name in other}
        elif key not in _UNTOLD and not (key == "quick_gelu" and not one):  # with or without it, it is one model
            told[key] = one
    left = ("_name_or_path", "transformers_version", "torch_dtype", "dtype", "architectures")
    text = {key: value for key, value in text_config(model).items() if key not in left}
    return json.dumps({**told, "text_config": text} if text else told, sort_keys=True)
