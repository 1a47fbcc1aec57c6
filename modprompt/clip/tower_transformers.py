"""One of transformers' dual encoders as a TowerCLIP: built from its config, filled with tensors that are already here.

Text sides mask padding, except SigLIP's, which reads it: a mask would change its features.
"""

import json
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from modprompt.clip import tower_packages
from modprompt.clip.infer_shape import shapes_of
from modprompt.clip.tokenizers import Tokenizer
from modprompt.clip.tower_build import require_same, require_size
from modprompt.clip.towers import ImageTower, TextTower, TowerCLIP
from modprompt.clip.transformers_config import TransformersConfig
from modprompt.errors import UserError
from modprompt.programs import one_line

_AT_FIRST = ("chinese_clip", "altclip")  # the text's feature is that of its first token


def build(config: TransformersConfig, state: dict[str, Tensor], tokenizer: Tokenizer, where: str) -> TowerCLIP:
    """The dual encoder of a config with these tensors, in eval mode and float32.

    Args:
        config: how it is made.
        state: its tensors under transformers' names; emptied.
        tokenizer: its tokenizer.
        where: the name of the weights in messages.

    Raises:
        UserError: if transformers is missing, or the tensors are not exactly those of the config's model.
    """
    with torch.device("meta"):  # a look at the names costs no memory
        empty = _made(config, where)
    expected = empty.state_dict()
    for name in {"logit_scale", "logit_bias"} & set(expected) & set(state):
        if state[name].numel() == 1:
            state[name] = state[name].reshape(expected[name].shape)
    require_same(shapes_of(state, where), shapes_of(expected, where), where)
    width, pixels = _width(empty, config), config.images.size
    require_size(lambda image: encode_image(_side(empty, "vision"), image), pixels, width, where)
    module = _made(config, where)
    module.load_state_dict(state)
    state.clear()
    image, text = _side(module, "vision"), _side(module, "text")
    padding = None if config.kind == "siglip" else config.padding
    bias = getattr(module, "logit_bias", None)
    found = TowerCLIP(
        ImageTower(image, encode_image, config.images.size),
        TextTower(text, partial(encode_text, padding=padding, at_first=config.kind in _AT_FIRST)),
        tokenizer,
        width,
        float(module.logit_scale.detach()),
        None if bias is None else float(bias.detach()),
    )
    found.unshown = json.dumps(config.model, sort_keys=True)
    return found.eval()


def encode_image(parts: nn.Module, image: Tensor) -> Tensor:
    """Features of images from a side's `model`, through its `projection` if there is one."""
    return _projected(parts, parts.get_submodule("model")(pixel_values=image).pooler_output)


def encode_text(parts: nn.Module, ids: Tensor, padding: int | None, at_first: bool) -> Tensor:
    """The same for token ids.

    Args:
        parts: the side.
        ids: of texts.
        padding: the id that is masked; None for no mask.
        at_first: whether the feature is the first token's, not the side's own output.
    """
    mask = None if padding is None else (ids != padding).long()
    out = parts.get_submodule("model")(input_ids=ids, attention_mask=mask)
    return _projected(parts, out.last_hidden_state[:, 0] if at_first else out.pooler_output)


def _projected(parts: nn.Module, features: Tensor) -> Tensor:
    projection = getattr(parts, "projection", None)
    found: Tensor = features if projection is None else projection(features)
    return found


def _side(module: Any, which: str) -> nn.Module:
    """The parts of a side, "vision" or "text", in one module."""
    side = nn.Module()
    side.model = getattr(module, f"{which}_model")
    projection = getattr(module, {"vision": "visual_projection"}.get(which, "text_projection"), None)
    if projection is not None:
        side.projection = projection
    return side


def _width(module: Any, config: TransformersConfig) -> int:
    projection = getattr(module, "visual_projection", None)
    return int(module.config.vision_config.hidden_size if projection is None else projection.out_features)


def _made(config: TransformersConfig, where: str) -> Any:
    """transformers' module for a config, with random weights, on PyTorch's current device."""
    package = tower_packages.transformers()
    given = {key: value for key, value in config.model.items() if key != "model_type"}
    try:
        with torch.random.fork_rng(devices=[]), tower_packages.quiet():
            made = package.AutoModel.from_config(
                package.AutoConfig.for_model(config.kind, **given), dtype=torch.float32
            )
    except Exception as error:  # whatever a package raises on unknown values
        raise UserError(
            f"transformers does not build what the config of {where} says ({one_line(error)[:200]})"
        ) from None
    return made.eval()
