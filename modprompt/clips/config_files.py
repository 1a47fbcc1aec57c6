"""What config files say of the weights beside them: open_clip's, whose defaults count too, and transformers'.

Each key is used, plays no part when a frozen CLIP is run, or has the one value that is run.
"""

import json
from pathlib import Path
from typing import Any, Collection, Dict, Mapping, Tuple

from modprompt.clips.design import (
    ACTIVATIONS,
    BERT_TEXT,
    COCA,
    EVA,
    GELU,
    OPENAI_MEAN,
    OPENAI_STD,
    QUICK_GELU,
    SHORTEST,
    SIGLIP,
    SQUASH,
    TIMM,
    WORLDWIDE,
    Design,
    Images,
    refused,
)
from modprompt.clips.infer_shape import POSITIONS, VOCABULARY
from modprompt.errors import UserError
from modprompt.storage import json_text
from modprompt.storage.opening import read_text

_MOST_BYTES = 1 << 24
_MOST = 1 << 24  # of any number in a config


def read_config(path: Path, about: str = "how these weights are run") -> Dict[str, Any]:
    """The JSON object in a file, which says something about weights.

    Raises:
        UserError: if it is missing, or no JSON object.
    """
    try:
        content = json_text.parse(read_text(path, _MOST_BYTES))
    except FileNotFoundError:
        raise UserError(f"{path} is missing: it says {about}; copy it from where the weights come from") from None
    except ValueError as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{path} is damaged: no JSON ({' '.join(str(error).split())[:80]})") from None
    if not isinstance(content, dict):
        raise UserError(f"{path} is damaged: no JSON object")
    return content


def part(config: Mapping[str, Any], key: str, where: str) -> Dict[str, Any]:
    """An object in a config.

    Raises:
        UserError: if it is missing or none.
    """
    found = config.get(key)
    if not isinstance(found, dict):
        raise UserError(f"{where} has no {key}: it does not say how these weights are run")
    return found


def require_known(
    config: Mapping[str, Any],
    used: Collection[str],
    free: Collection[str],
    only: Mapping[str, Tuple[Any, ...]],
    at: str,
) -> None:
    """Raise UserError unless each key is used, plays no part, or has a value that is run here.

    Args:
        config: keys and values.
        used: keys that are read.
        free: keys that play no part when a frozen CLIP is run.
        only: {key: the values of it that are run}.
        at: the file, and where in it, for the message.
    """
    for key, value in config.items():
        if key in used or key in free:
            continue
        if key not in only:
            raise UserError(f"{at}{key} = {_short(value)} is not known here: such a CLIP is not run")
        if value not in only[key]:
            allowed = " or ".join(_short(one) for one in only[key])
            raise UserError(f"{at}{key} is {_short(value)}, only {allowed} is run: see docs/backbones.md")


def _short(value: Any) -> str:
    return json.dumps(value)[:60]


def whole(config: Mapping[str, Any], key: str, default: int, at: str) -> int:
    """A whole number above 0 of a config.

    Raises:
        UserError: if it is none.
    """
    value = config.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value < _MOST:
        raise UserError(f"{at}{key} must be a whole number above 0, got {_short(value)}")
    return value


def ratio(config: Mapping[str, Any], key: str, default: float, at: str) -> float:
    """A number above 0 of a config.

    Raises:
        UserError: if it is none.
    """
    value = config.get(key, default)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < 1000:
        raise UserError(f"{at}{key} must be a number above 0, got {_short(value)}")
    return float(value)


def square(value: Any, key: str, at: str) -> int:
    """A side in pixels, of a number or two equal ones.

    Raises:
        UserError: if it is none.
    """
    sides = list(value) if isinstance(value, (list, tuple)) else [value]
    if len(sides) not in (1, 2) or any(isinstance(one, bool) or not isinstance(one, int) or one < 1 for one in sides):
        raise UserError(f"{at}{key} must be a number of pixels, got {_short(value)}")
    if len(set(sides)) != 1:
        raise UserError(f"{at}{key} is {_short(value)}: only square images are run")
    return int(sides[0])


def channels(value: Any, key: str, at: str) -> Tuple[float, ...]:
    """Three numbers from 0 to 1, one a channel; those of a deviation are above 0.

    Raises:
        UserError: if they are none.
    """
    numbers = list(value) if isinstance(value, (list, tuple)) else []
    plain = all(isinstance(one, (int, float)) and not isinstance(one, bool) and 0 <= one <= 1 for one in numbers)
    if len(numbers) != 3 or not plain or ("std" in key and not all(numbers)):
        raise UserError(f"{at}{key} must be three numbers{' above 0' if 'std' in key else ''}, got {_short(value)}")
    return tuple(float(one) for one in numbers)


OPEN_CLIP_FILE = "open_clip_config.json"
_OPEN_CLIP_MODEL = {"embed_dim", "vision_cfg", "text_cfg", "quick_gelu"}
_OPEN_CLIP_MODEL_FREE = {"custom_text", "init_logit_scale", "output_dict", "cast_dtype", "nonscalar_logit_scale"}
_OPEN_CLIP_MODEL_ONLY: Dict[str, Tuple[Any, ...]] = {"init_logit_bias": (None,), "multimodal_cfg": (None,)}
_NORM: Tuple[Any, ...] = (None, {}, {"eps": 1e-5})
_BLOCK: Dict[str, Tuple[Any, ...]] = {
    "ls_init_value": (None,), "act_kwargs": (None, {}), "norm_kwargs": _NORM, "block_type": (None, "default"),
    "qk_norm": (False,), "scaled_cosine_attn": (False,), "scale_heads": (False,), "scale_attn_inner": (False,),
    "scale_attn": (False,), "scale_fc": (False,), "output_tokens": (False,), "final_ln_after_pool": (False,),
}  # fmt: skip
_OPEN_CLIP_IMAGE = {"layers", "width", "head_width", "mlp_ratio", "patch_size", "image_size"}
_OPEN_CLIP_IMAGE_FREE = {  # of training, or of what the keys of _OPEN_CLIP_IMAGE_ONLY forbid
    "patch_dropout", "attn_pooler_queries", "attn_pooler_heads", "timm_model_pretrained", "timm_pool", "timm_proj",
    "timm_proj_bias", "timm_drop", "timm_drop_path",
}  # fmt: skip
_OPEN_CLIP_IMAGE_ONLY: Dict[str, Tuple[Any, ...]] = {
    **_BLOCK, "attentional_pool": (False, None), "no_ln_pre": (False,), "pos_embed_type": ("learnable",),
    "pool_type": ("tok",), "timm_model_name": (None, ""), "input_patchnorm": (False,), "global_average_pool": (False,),
}  # fmt: skip
_OPEN_CLIP_TEXT = {"width", "heads", "layers", "mlp_ratio"}
_OPEN_CLIP_TEXT_FREE = {"pad_id", "eos_id", "hf_model_pretrained", "hf_proj_type", "hf_pooler_type"}
_OPEN_CLIP_TEXT_ONLY: Dict[str, Tuple[Any, ...]] = {
    **_BLOCK, "context_length": (POSITIONS,), "vocab_size": (VOCABULARY,), "hf_tokenizer_name": (None, ""),
    "tokenizer_mode": (None,), "tokenizer_kwargs": (None, {}), "embed_cls": (False,), "no_causal_mask": (False,),
    "pool_type": ("argmax",), "proj_bias": (False,), "proj_type": ("linear",), "hf_model_name": (None, ""),
}  # fmt: skip
_OPEN_CLIP_IMAGES = {"size", "mean", "std", "interpolation", "resize_mode"}


def read_open_clip(path: Path) -> Design:
    """The design that an open_clip_config.json states.

    Raises:
        UserError: if it is missing or damaged, or states what is not run here; the key is named.
    """
    config = read_config(path)
    if "model_cfg" in config:
        require_known(config, ("model_cfg", "preprocess_cfg"), (), {}, f"{path}: ")
        return design_of(part(config, "model_cfg", str(path)), config.get("preprocess_cfg") or {}, str(path))
    return design_of(config, {}, str(path))


def family_of(model: Mapping[str, Any]) -> str:
    """Which family (families.py) a model_cfg is of, if one of those that are not run; else empty."""
    image, text = (found if isinstance(found, dict) else {} for found in map(model.get, ("vision_cfg", "text_cfg")))
    trunk = str(image.get("timm_model_name") or "").lower()
    if "siglip" in trunk or model.get("init_logit_bias") is not None:
        return SIGLIP
    if model.get("multimodal_cfg") is not None:
        return COCA
    if trunk:
        return EVA if trunk.startswith("eva") else TIMM
    return BERT_TEXT if text.get("hf_model_name") else ""


def design_of(model: Mapping[str, Any], images: Mapping[str, Any], where: str) -> Design:
    """The design of a model_cfg and a preprocess_cfg.

    Raises:
        UserError: as `read_open_clip`.
    """
    family = family_of(model)
    if family:
        raise refused(where, family)
    require_known(model, _OPEN_CLIP_MODEL, _OPEN_CLIP_MODEL_FREE, _OPEN_CLIP_MODEL_ONLY, f"{where}: ")
    image, text = part(model, "vision_cfg", where), part(model, "text_cfg", where)
    in_image, in_text = f"{where}: vision_cfg.", f"{where}: text_cfg."
    require_known(image, _OPEN_CLIP_IMAGE, _OPEN_CLIP_IMAGE_FREE, _OPEN_CLIP_IMAGE_ONLY, in_image)
    require_known(text, _OPEN_CLIP_TEXT, _OPEN_CLIP_TEXT_FREE, _OPEN_CLIP_TEXT_ONLY, in_text)
    quick = model.get("quick_gelu", False)
    if not isinstance(quick, bool):
        raise UserError(f"{where}: quick_gelu must be true or false, got {quick!r}")
    said = {
        "embed": whole(model, "embed_dim", 0, f"{where}: "),
        "text layers": whole(text, "layers", 12, in_text),
        "text width": whole(text, "width", 512, in_text),
    }
    said["text hidden"] = int(said["text width"] * ratio(text, "mlp_ratio", 4.0, in_text))
    width, head = whole(image, "width", 768, in_image), whole(image, "head_width", 64, in_image)
    if isinstance(image.get("layers"), list):  # a ResNet: the blocks of its four stages
        width *= 32  # of its attention pool
    else:
        said.update(
            {
                "image layers": whole(image, "layers", 12, in_image),
                "image hidden": int(width * ratio(image, "mlp_ratio", 4.0, in_image)),
                "patch": square(image.get("patch_size", 16), "patch_size", in_image),
            }
        )
    said["image width"] = width
    if width % head:
        raise UserError(f"{in_image}head_width is {head}, which does not divide the width {width}")
    heads = (whole(text, "heads", 8, in_text), width // head)
    size = square(image.get("image_size", 224), "image_size", in_image)
    return Design(
        QUICK_GELU if quick else GELU, heads, _open_clip_images(images, size, f"{where}: preprocess_cfg."), said
    )


def _open_clip_images(config: Mapping[str, Any], size: int, at: str) -> Images:
    if not isinstance(config, Mapping):
        raise UserError(f"{at[:-1]} must be an object")
    require_known(config, _OPEN_CLIP_IMAGES, ("fill_color",), {"mode": ("RGB",)}, at)
    if square(config.get("size", size), "size", at) != size:
        raise UserError(f"{at}size is {config['size']}, but the model takes images of {size} pixels")
    how, resize = config.get("interpolation", "bicubic"), config.get("resize_mode", SHORTEST)
    require_known({"interpolation": how}, (), (), {"interpolation": ("bicubic", "bilinear")}, at)
    require_known({"resize_mode": resize}, (), (), {"resize_mode": (SHORTEST, SQUASH)}, at)
    mean, std = (
        channels(config.get(key, given), key, at) for key, given in (("mean", OPENAI_MEAN), ("std", OPENAI_STD))
    )
    return Images(size, mean, std, str(how), str(resize))


TRANSFORMERS_FILE, IMAGES_FILE, TOKENIZER_FILE = "config.json", "preprocessor_config.json", "tokenizer_config.json"
# how text is generated, models are trained or saved, and classes are named: a frozen CLIP has none of it
_TRANSFORMERS_FREE = {
    "_name_or_path", "name_or_path", "_commit_hash", "architectures", "transformers_version", "torch_dtype", "dtype",
    "initializer_range", "initializer_factor", "attention_dropout", "dropout", "gradient_checkpointing", "torchscript",
    "return_dict", "output_hidden_states", "output_attentions", "output_scores", "return_dict_in_generate",
    "tie_word_embeddings", "tie_encoder_decoder", "chunk_size_feed_forward", "projection_dim", "pad_token_id",
    "bos_token_id", "sep_token_id", "decoder_start_token_id", "forced_bos_token_id", "forced_eos_token_id",
    "bad_words_ids", "begin_suppress_tokens", "suppress_tokens", "diversity_penalty", "do_sample", "early_stopping",
    "encoder_no_repeat_ngram_size", "exponential_decay_length_penalty", "finetuning_task", "id2label", "label2id",
    "length_penalty", "max_length", "min_length", "no_repeat_ngram_size", "num_beam_groups", "num_beams",
    "num_return_sequences", "prefix", "problem_type", "remove_invalid_values", "repetition_penalty", "temperature",
    "task_specific_params", "tf_legacy_loss", "top_k", "top_p", "typical_p", "tokenizer_class", "use_cache",
    "cross_attention_hidden_size", "_attn_implementation_autoset", "is_encoder_decoder", "logit_scale_init_value",
}  # fmt: skip
_TRANSFORMERS_SIDE: Dict[str, Tuple[Any, ...]] = {
    "layer_norm_eps": (1e-5,), "pruned_heads": ({}, None), "is_decoder": (False,), "add_cross_attention": (False,),
    "use_bfloat16": (False,),
}  # fmt: skip
_TRANSFORMERS_TEXT_ONLY: Dict[str, Tuple[Any, ...]] = {
    **_TRANSFORMERS_SIDE, "vocab_size": (VOCABULARY,), "max_position_embeddings": (POSITIONS,),
    "eos_token_id": (2, 49407), "model_type": ("clip_text_model",),
}  # fmt: skip
_TRANSFORMERS_IMAGE_ONLY: Dict[str, Tuple[Any, ...]] = {
    **_TRANSFORMERS_SIDE, "num_channels": (3,), "model_type": ("clip_vision_model",), "eos_token_id": (None,),
}  # fmt: skip
_TRANSFORMERS_TOP = {"text_config", "vision_config", "text_config_dict", "vision_config_dict", "projection_dim"}
_TRANSFORMERS_TOP_ONLY: Dict[str, Tuple[Any, ...]] = {
    **_TRANSFORMERS_SIDE,
    "model_type": ("clip",),
    "eos_token_id": (None, 2, 49407),
}
_TRANSFORMERS_DEFAULTS = {  # of transformers, where a config leaves a key out
    "text": {"hidden_size": 512, "intermediate_size": 2048, "num_hidden_layers": 12, "num_attention_heads": 8},
    "vision": {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12,
               "image_size": 224, "patch_size": 32},
}  # fmt: skip
_TRANSFORMERS_FAMILIES = {
    "siglip": SIGLIP,
    "siglip2": SIGLIP,
    "altclip": BERT_TEXT,
    "chinese_clip": BERT_TEXT,
    "metaclip_2": WORLDWIDE,
}
_TRANSFORMERS_IMAGES = {"crop_size", "size", "image_mean", "image_std", "resample", "do_center_crop"}
_TRANSFORMERS_IMAGES_FREE = {
    "processor_class", "do_convert_rgb", "return_tensors", "device", "disable_grouping", "default_to_square",
    "_valid_processor_keys", "input_data_format", "pad_size", "image_seq_length",
}  # fmt: skip
_PROCESSORS = ("CLIPImageProcessor", "CLIPFeatureExtractor", "CLIPImageProcessorFast", "CLIPImageProcessorPil")
_TRANSFORMERS_IMAGES_ONLY: Dict[str, Tuple[Any, ...]] = {
    "do_resize": (True,), "do_normalize": (True,), "do_rescale": (True,), "do_pad": (False, None),
    "rescale_factor": (1 / 255,), "image_processor_type": _PROCESSORS, "feature_extractor_type": _PROCESSORS,
    "data_format": ("channels_first", None),
}  # fmt: skip
_RESAMPLE = {2: "bilinear", 3: "bicubic"}  # Pillow's numbers


def read_transformers(folder: Path) -> Design:
    """The design that config.json and preprocessor_config.json in a folder state.

    Raises:
        UserError: if one is missing or damaged, or states what is not run here; the key is named.
    """
    path, images = folder / TRANSFORMERS_FILE, folder / IMAGES_FILE
    config, at = read_config(path), f"{path}: "
    kind = config.get("model_type")
    if isinstance(kind, str) and kind in _TRANSFORMERS_FAMILIES:
        raise refused(str(path), _TRANSFORMERS_FAMILIES[kind], f"model_type {kind}")
    require_known({"model_type": kind}, (), (), _TRANSFORMERS_TOP_ONLY, at)
    require_known(config, _TRANSFORMERS_TOP, _TRANSFORMERS_FREE, _TRANSFORMERS_TOP_ONLY, at)
    text, image = (_side(config, side, str(path)) for side in ("text", "vision"))
    if text["hidden_act"] != image["hidden_act"]:
        raise UserError(
            f"{at}hidden_act is {text['hidden_act']} in text_config and {image['hidden_act']} in vision_config: "
            "only CLIPs with one activation are run"
        )
    require_known({"hidden_act": text["hidden_act"]}, (), (), {"hidden_act": ACTIVATIONS}, at)
    said = {
        f"{name} {ours}": whole(found, key, 0, f"{at}{side}_config.")
        for name, side, found in (("text", "text", text), ("image", "vision", image))
        for ours, key in (("layers", "num_hidden_layers"), ("width", "hidden_size"), ("hidden", "intermediate_size"))
    }
    said["embed"] = whole(config, "projection_dim", 512, at)
    said["patch"] = square(image["patch_size"], "patch_size", f"{at}vision_config.")
    heads = tuple(whole(found, "num_attention_heads", 0, at) for found in (text, image))
    size = square(image["image_size"], "image_size", f"{at}vision_config.")
    _require_tokenizer(folder / TOKENIZER_FILE)
    return Design(
        text["hidden_act"],
        heads,
        _transformers_images(read_config(images, "how images are made"), size, f"{images}: "),
        said,
    )


def _side(config: Mapping[str, Any], side: str, where: str) -> Dict[str, Any]:
    """A side's config with defaults; the older `*_config_dict` beside it must agree in all that is read."""
    key, defaults = f"{side}_config", {**_TRANSFORMERS_DEFAULTS[side], "hidden_act": "quick_gelu"}
    names = [name for name in (key, f"{key}_dict") if config.get(name) is not None] or [key]
    found = {name: part(config, name, where) for name in names}
    for name, given in found.items():
        require_known(
            given,
            defaults,
            _TRANSFORMERS_FREE,
            _TRANSFORMERS_TEXT_ONLY if side == "text" else _TRANSFORMERS_IMAGE_ONLY,
            f"{where}: {name}.",
        )
    if len(found) == 2:
        new, old = found.values()
        for name, default in defaults.items():  # transformers has the older one decide, with its defaults
            if name in new and new[name] != old.get(name, default):
                raise UserError(f"{where}: {key} and {key}_dict disagree on {name}: make them equal, or delete one")
    return {**defaults, **{name: value for given in found.values() for name, value in given.items()}}


def _transformers_images(config: Mapping[str, Any], size: int, at: str) -> Images:
    require_known(config, _TRANSFORMERS_IMAGES, _TRANSFORMERS_IMAGES_FREE, _TRANSFORMERS_IMAGES_ONLY, at)
    lacking = [key for key in ("size", "image_mean", "image_std", "resample") if key not in config]
    if lacking:
        raise UserError(f"{at}{lacking[0]} is missing: it does not say how images are made")
    require_known({"resample": config["resample"]}, (), (), {"resample": tuple(_RESAMPLE)}, at)
    resize, side = _resize(config["size"], at)
    crops = config.get("do_center_crop", True)
    cut = _sides(config["crop_size"], "crop_size", at) if crops and "crop_size" in config else side
    if side != size or cut != size:
        raise UserError(f"{at}images of {side} pixels, cut to {cut}, do not fit the model, which takes {size}")
    if resize == SHORTEST and not crops:
        raise UserError(f"{at}do_center_crop is false: only images that are cut to a square are run")
    mean, std = (channels(config[key], key, at) for key in ("image_mean", "image_std"))
    return Images(size, mean, std, _RESAMPLE[config["resample"]], resize)


def _resize(size: Any, at: str) -> Tuple[str, int]:
    if isinstance(size, dict) and set(size) == {"shortest_edge"}:
        return SHORTEST, square(size["shortest_edge"], "size", at)
    if isinstance(size, dict):
        return SQUASH, _sides(size, "size", at)
    return SHORTEST, square(size, "size", at)


def _sides(value: Any, key: str, at: str) -> int:
    if isinstance(value, dict):
        require_known(value, ("height", "width"), (), {}, f"{at}{key}.")
        value = [value.get("height"), value.get("width")]
    return square(value, key, at)


def _require_tokenizer(path: Path) -> None:
    """Raise UserError if a tokenizer is named, and it is not CLIP's."""
    if path.exists():
        found = read_config(path).get("tokenizer_class")
        require_known(
            {"tokenizer_class": found}, (), (), {"tokenizer_class": (None, "CLIPTokenizer", "CLIPTokenizerFast")},
            f"{path}: ",
        )  # fmt: skip
