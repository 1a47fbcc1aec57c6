"""One of open_clip's dual encoders as a TowerCLIP: built from its config, filled with tensors that are already here.

The package loads and looks up nothing, and draws from no generator.
"""

import copy
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from modprompt.clip import tower_packages
from modprompt.clip.config_files import TRANSFORMERS_FILE, read_config
from modprompt.clip.infer_shape import shapes_of
from modprompt.clip.stock_model import VisionTransformer, put_text
from modprompt.clip.tokenizers import Tokenizer
from modprompt.clip.tower_config import TowerConfig
from modprompt.clip.towers import ImageTower, TextTower, TowerCLIP
from modprompt.clip.transformers_config import kept
from modprompt.errors import UserError
from modprompt.programs import one_line

_TEXT, _IMAGE = "text.", "visual."
_UNTOLD = (
    "hf_model_name", "hf_tokenizer_name", "tokenizer_kwargs", "tokenizer_mode", "init_logit_bias", "multimodal_cfg",
)  # fmt: skip
_COUNTS = ".num_batches_tracked"  # a BatchNorm's, without effect in eval mode
_POSITIONS = ("positional_embedding", "pos_embed")


def build(
    config: TowerConfig,
    state: dict[str, Tensor],
    tokenizer: Tokenizer,
    where: str,
    text_folder: Path | None = None,
) -> TowerCLIP:
    """The dual encoder of a config with these tensors, in eval mode and float32.

    Args:
        config: how it is made.
        state: its tensors under open_clip's names; emptied.
        tokenizer: its tokenizer.
        where: the name of the weights in messages.
        text_folder: the folder with the config.json of a text side that is transformers'.

    Raises:
        UserError: if a package is missing, or the tensors are not exactly those of the config's model, in names and
            shapes: position embeddings of another length are not resized.
    """
    state = _with_text_in_front(state)
    given = shapes_of(state, where)
    with torch.device("meta"):  # a look at the names costs no memory
        empty = _made(config, text_folder, where)
    require_same(given, {name: tuple(one.shape) for name, one in empty.state_dict().items()}, where)
    require_size(lambda image: encode(empty.visual, image), config.images.size, config.model["embed_dim"], where)
    module = _made(config, text_folder, where)
    module.load_state_dict(state, strict=False)  # only counts may be missing
    state.clear()
    found = TowerCLIP(
        _image_side(module, config),
        _text_side(module, config),
        tokenizer,
        int(config.model["embed_dim"]),
        float(module.logit_scale.detach()),
        None if module.logit_bias is None else float(module.logit_bias.detach()),
    )
    found.unshown = _unshown(config, text_folder)
    return found.eval()


def encode(module: nn.Module, inputs: Tensor) -> Tensor:
    """Features of one of open_clip's sides; other outputs are dropped."""
    found: Any = module(inputs)
    features: Tensor = found[0] if isinstance(found, tuple) else found
    return features


def _with_text_in_front(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Tensors named as in a model with a text module; in models without one the text's are at top level."""
    whole = any(name.startswith(_TEXT) for name in state)
    apart = (_TEXT, _IMAGE, "text_decoder.", "logit_scale", "logit_bias")
    names = {name: name if whole or name.startswith(apart) else _TEXT + name for name in state}
    found = {new: state.pop(name) for name, new in names.items()}
    for name in ("logit_scale", "logit_bias"):
        if name in found and found[name].numel() == 1:
            found[name] = found[name].reshape(())
    return found


def _made(config: TowerConfig, text_folder: Path | None, where: str) -> Any:
    """open_clip's module for a config, with random weights, on PyTorch's current device."""
    package = tower_packages.open_clip()
    model = {**copy.deepcopy(config.model), "nonscalar_logit_scale": False}
    if model["text_cfg"].get("hf_model_name"):
        tower_packages.transformers()
        model["text_cfg"].update(hf_model_name=str(text_folder), hf_model_pretrained=False)
    kind = package.CoCa if model.get("multimodal_cfg") else package.CustomTextCLIP
    if not model.get("multimodal_cfg"):
        model.pop("multimodal_cfg", None)
    try:
        with torch.random.fork_rng(devices=[]):
            return kind(**model).float()  # a text side's config may name another type
    except UserError:
        raise
    except Exception as error:  # whatever a package raises on unknown values
        raise UserError(f"open_clip does not build what the config of {where} says ({one_line(error)[:200]})") from None


def require_same(given: Mapping[str, Any], expected: Mapping[str, Any], where: str) -> None:
    """Raise UserError unless shapes of tensors, by name, are exactly those of a model; `where` begins the message."""
    for name, shape in expected.items():
        if name not in given:
            if name.endswith(_COUNTS):
                continue
            raise UserError(f"{where} is not what its config says: {name} is missing")
        if given[name] != shape:
            hint = ", and positions are not resized here" if name.endswith(_POSITIONS) else ""
            raise UserError(
                f"{where} is not what its config says: {name} has the shape {given[name]}, not {shape}{hint}"
            )
    odd = [name for name in given if name not in expected]
    if odd:
        raise UserError(f"{where} is not what its config says: no such model has {odd[0]}")


def require_size(encode_image: Callable[[Tensor], Tensor], pixels: int, width: int, where: str) -> None:
    """Raise UserError unless an image side on the meta device accepts images of this size and gives this width (E)."""
    try:
        with torch.no_grad():
            features = encode_image(torch.empty(1, 3, pixels, pixels, device="meta"))
    except Exception as error:  # of many kinds
        raise UserError(f"{where} does not accept images of {pixels} pixels ({one_line(error)[:120]})") from None
    if tuple(features.shape) != (1, width):
        raise UserError(f"{where} gives features of the shape {tuple(features.shape)[1:]}, not {(width,)}")


def _image_side(module: Any, config: TowerConfig) -> Any:
    if not config.image:
        return ImageTower(module.visual, encode, config.images.size)
    with torch.device("meta"):
        side = VisionTransformer(config.image, config.design)
    side.load_state_dict(module.visual.state_dict(), assign=True)
    return side


def _text_side(module: Any, config: TowerConfig) -> nn.Module:
    if not config.text:
        return TextTower(module.text, encode)
    side = nn.Module()
    with torch.device("meta"):
        put_text(side, config.text, config.design)
    side.load_state_dict(module.text.state_dict(), assign=True)
    return side


def _unshown(config: TowerConfig, text_folder: Path | None) -> str:
    """What the tensors do not show, as sorted JSON: the config without open_clip's defaults."""
    package = tower_packages.open_clip()
    usual = {"text_cfg": asdict(package.CLIPTextCfg()), "vision_cfg": asdict(package.CLIPVisionCfg())}
    told: dict[str, Any] = {}
    for key, one in config.model.items():
        if isinstance(one, dict):
            known = usual.get(key, {})
            told[key] = {name: value for name, value in one.items() if name not in _UNTOLD and value != known.get(name)}
        elif key not in _UNTOLD:
            told[key] = one
    if text_folder is not None:
        told["text_config"] = kept(read_config(text_folder / TRANSFORMERS_FILE), "")
    return json.dumps(told, sort_keys=True)
