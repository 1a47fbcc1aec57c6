"""What config files say of the weights in their folder: open_clip's, whose defaults count too, and transformers'.

Each file has rules for its keys: a key is read, plays no part when a frozen CLIP runs, or must have a supported value.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from modprompt.clip.design import ACTIVATIONS, GELU, QUICK_GELU, SHORTEST, SQUASH, Design, Images
from modprompt.clip.infer_shape import POSITIONS, VOCABULARY
from modprompt.errors import UserError
from modprompt.io import json_text
from modprompt.io.safe_open import read_text

OPEN_CLIP_FILE = "open_clip_config.json"
TRANSFORMERS_FILE, IMAGES_FILE, TOKENIZER_FILE = "config.json", "preprocessor_config.json", "tokenizer_config.json"
PROCESSOR_FILE = "processor_config.json"
MOST, _MOST_LAYERS = 1 << 24, 512  # limits of numbers in a config


class Read(NamedTuple):
    """A key that is read.

    as_: converts its value; gets the value and the key's name for messages, and raises UserError.
    default: its value if a config leaves it out.
    """

    as_: Callable[[Any, str], Any]
    default: Any = None


Rule = Read | tuple[Any, ...] | None  # read, the supported values, or None for any value: it plays no part
Rules = Mapping[str, Rule]


def read_by(rules: Rules, config: Mapping[str, Any], at: str) -> dict[str, Any]:
    """The converted values of the keys that are read.

    Args:
        rules: for each key that there may be.
        config: keys and values.
        at: the file, and where in it, for the message.

    Raises:
        UserError: on a key without a rule, or a value that is not supported.
    """
    for key, value in config.items():
        if key not in rules:
            raise UserError(f"{at}{key} = {_short(value)} is not known here: such a CLIP is not supported")
        rule = rules[key]
        if isinstance(rule, tuple) and not isinstance(rule, Read):
            one_of(*rule)(value, f"{at}{key}")
    read = {key: rule for key, rule in rules.items() if isinstance(rule, Read)}
    return {key: rule.as_(config.get(key, rule.default), f"{at}{key}") for key, rule in read.items()}


def _short(value: Any) -> str:
    return json.dumps(value)[:60]


def one_of(*allowed: Any) -> Callable[[Any, str], Any]:
    """A reader of a key that must have one of these values."""

    def check(value: Any, name: str) -> Any:
        if value not in allowed:
            listed = " or ".join(_short(one) for one in allowed)
            raise UserError(f"{name} is {_short(value)}, only {listed} is supported: see docs/backbones.md")
        return value

    return check


def _any(value: Any, name: str) -> Any:
    return value


def as_bool(value: Any, name: str) -> bool:
    """A key that is true or false."""
    if not isinstance(value, bool):
        raise UserError(f"{name} must be true or false, got {value!r}")
    return value


def _is_number(value: Any, kinds: Any = (int, float)) -> bool:
    return isinstance(value, kinds) and not isinstance(value, bool)


def _whole(value: Any, name: str) -> int:
    if not _is_number(value, int) or not 0 < value < MOST:
        raise UserError(f"{name} must be a whole number above 0, got {_short(value)}")
    return int(value)


def _ratio(value: Any, name: str) -> float:
    if not _is_number(value) or not 0 < value < 1000:
        raise UserError(f"{name} must be a number above 0, got {_short(value)}")
    return float(value)


def pixels(value: Any, name: str) -> int:
    """A side in pixels, given as one number or two equal ones."""
    sides = list(value) if isinstance(value, (list, tuple)) else [value]
    if len(sides) not in (1, 2) or not all(_is_number(one, int) and one > 0 for one in sides):
        raise UserError(f"{name} must be a number of pixels, got {_short(value)}")
    if len(set(sides)) != 1:
        raise UserError(f"{name} is {_short(value)}: only square images are supported")
    return int(sides[0])


def _mean(value: Any, name: str, above: str = "") -> tuple[float, ...]:
    """Three numbers from 0 to 1, one for each channel."""
    numbers = list(value) if isinstance(value, (list, tuple)) else []
    plain = all(_is_number(one) and 0 <= one <= 1 for one in numbers)
    if len(numbers) != 3 or not plain or (above and not all(numbers)):
        raise UserError(f"{name} must be three numbers{above}, got {_short(value)}")
    return tuple(float(one) for one in numbers)


def _std(value: Any, name: str) -> tuple[float, ...]:
    return _mean(value, name, " above 0")


def read_config(path: Path, about: str = "how these weights are run") -> dict[str, Any]:
    """The JSON object in a file about weights.

    Raises:
        UserError: if it is missing, or not a JSON object.
    """
    try:
        content = json_text.parse(read_text(path))
    except FileNotFoundError:
        raise UserError(f"{path} is missing: it says {about}; copy it from where the weights come from") from None
    except UserError:
        raise
    except ValueError as error:
        raise UserError(f"{path} is damaged: not JSON ({' '.join(str(error).split())[:80]})") from None
    if not isinstance(content, dict):
        raise UserError(f"{path} is damaged: not a JSON object")
    return content


def part_of(config: Mapping[str, Any], key: str, where: str) -> dict[str, Any]:
    """An object in a config; UserError if it is missing."""
    found = config.get(key)
    if not isinstance(found, dict):
        raise UserError(f"{where} has no {key}: it does not say how these weights are run")
    return found


# open_clip's

_MODEL: Rules = {
    "embed_dim": Read(_whole, 0), "quick_gelu": Read(as_bool, False), "vision_cfg": None, "text_cfg": None,
    **dict.fromkeys(("custom_text", "init_logit_scale", "output_dict", "cast_dtype", "nonscalar_logit_scale")),
    "init_logit_bias": (None,), "multimodal_cfg": (None,),
}  # fmt: skip
OPEN_CLIP_MODEL: Rules = {**_MODEL, "init_logit_bias": None, "multimodal_cfg": None}  # for all of open_clip's models
_BLOCK: Rules = {
    "layers": Read(_whole, 12), "mlp_ratio": Read(_ratio, 4.0),
    "ls_init_value": (None,), "act_kwargs": (None, {}), "norm_kwargs": (None, {}, {"eps": 1e-5}),
    "block_type": (None, "default"), "qk_norm": (False,), "scaled_cosine_attn": (False,), "scale_heads": (False,),
    "scale_attn_inner": (False,), "scale_attn": (False,), "scale_fc": (False,), "output_tokens": (False,),
    "final_ln_after_pool": (False,),
}  # fmt: skip
OPEN_CLIP_IMAGE: Rules = {
    **_BLOCK, "width": Read(_whole, 768), "head_width": Read(_whole, 64), "patch_size": Read(pixels, 16),
    "image_size": Read(pixels, 224),
    "attentional_pool": (False, None), "no_ln_pre": (False,), "pos_embed_type": ("learnable",),
    "pool_type": ("tok",), "timm_model_name": (None, ""), "input_patchnorm": (False,), "global_average_pool": (False,),
    **dict.fromkeys((  # for training, or for what the values above forbid
        "patch_dropout", "attn_pooler_queries", "attn_pooler_heads", "timm_model_pretrained", "timm_pool", "timm_proj",
        "timm_proj_bias", "timm_drop", "timm_drop_path",
    )),
}  # fmt: skip
_RESNET: Rules = {**OPEN_CLIP_IMAGE, **dict.fromkeys(("layers", "mlp_ratio", "patch_size"))}
OPEN_CLIP_TEXT: Rules = {
    **_BLOCK, "width": Read(_whole, 512), "heads": Read(_whole, 8),
    "context_length": (POSITIONS,), "vocab_size": (VOCABULARY,), "hf_tokenizer_name": (None, ""),
    "tokenizer_mode": (None,), "tokenizer_kwargs": (None, {}), "embed_cls": (False,), "no_causal_mask": (False,),
    "pool_type": ("argmax",), "proj_bias": (False,), "proj_type": ("linear",), "hf_model_name": (None, ""),
    **dict.fromkeys(("pad_id", "eos_id", "hf_model_pretrained", "hf_proj_type", "hf_pooler_type")),
}  # fmt: skip
_PREPROCESS: Rules = {
    "size": Read(pixels), "mean": Read(_mean, Images().mean), "std": Read(_std, Images().std),
    "interpolation": Read(one_of("bicubic", "bilinear"), "bicubic"),
    "resize_mode": Read(one_of(SHORTEST, SQUASH), SHORTEST), "fill_color": None, "mode": ("RGB",),
}  # fmt: skip


def read_open_clip(path: Path) -> Design:
    """The design that an open_clip_config.json states.

    Raises:
        UserError: if it is missing or damaged, or states what is not supported; the key is named.
    """
    return design_of(*model_and_images(path), str(path))


def model_and_images(path: Path) -> tuple[dict[str, Any], Mapping[str, Any]]:
    """The model_cfg and the preprocess_cfg of an open_clip_config.json; a file of the package is a model_cfg alone.

    Raises:
        UserError: if it is missing or damaged.
    """
    config = read_config(path)
    if "model_cfg" not in config:
        return config, {}
    read_by({"model_cfg": None, "preprocess_cfg": None}, config, f"{path}: ")
    return part_of(config, "model_cfg", str(path)), config.get("preprocess_cfg") or {}


def design_of(model: Mapping[str, Any], images: Mapping[str, Any], where: str) -> Design:
    """The design of a model_cfg and a preprocess_cfg.

    Raises:
        UserError: as `read_open_clip`.
    """
    whole = read_by(_MODEL, model, f"{where}: ")
    vision, text = part_of(model, "vision_cfg", where), part_of(model, "text_cfg", where)
    is_resnet = isinstance(vision.get("layers"), list)  # the blocks of its four stages
    image = read_by(_RESNET if is_resnet else OPEN_CLIP_IMAGE, vision, f"{where}: vision_cfg.")
    text = read_by(OPEN_CLIP_TEXT, text, f"{where}: text_cfg.")
    width = image["width"] * (32 if is_resnet else 1)  # a ResNet's is that of its attention pool
    said = {
        "embed": whole["embed_dim"],
        "text layers": text["layers"],
        "text width": text["width"],
        "text hidden": int(text["width"] * text["mlp_ratio"]),
        "image width": width,
    }
    if not is_resnet:
        hidden = int(width * image["mlp_ratio"])
        said.update({"image layers": image["layers"], "image hidden": hidden, "patch": image["patch_size"]})
    if width % image["head_width"]:
        head = image["head_width"]
        raise UserError(f"{where}: vision_cfg.head_width is {head}, which does not divide the width {width}")
    activation = QUICK_GELU if whole["quick_gelu"] else GELU
    heads = (text["heads"], width // image["head_width"])
    return Design(activation, heads, preprocessed(images, image["image_size"], f"{where}: preprocess_cfg."), said)


def preprocessed(config: Mapping[str, Any], size: int, at: str) -> Images:
    """How images are made, by a preprocess_cfg and the model's image size; messages begin with `at`."""
    if not isinstance(config, Mapping):
        raise UserError(f"{at[:-1]} must be an object")
    found = read_by(_PREPROCESS, {"size": size, **config}, at)
    if found["size"] != size:
        raise UserError(f"{at}size is {config['size']}, but the model needs images of {size} pixels")
    return Images(size, found["mean"], found["std"], found["interpolation"], found["resize_mode"])


def require_bounded(part: Mapping[str, Any], at: str) -> None:
    """Raise UserError on a number larger than any CLIP's: a package would build for ever."""
    for key, value in part.items():
        for number in value if isinstance(value, list) else [value]:
            most = _MOST_LAYERS if "layers" in key else MOST
            if isinstance(number, (int, float)) and not abs(number) <= most:
                raise UserError(f"{at}{key} is {number}: no CLIP has as many")


# transformers'

# on generating text, training, saving, and names of classes: a frozen CLIP uses none of it
ELSEWHERE: Rules = dict.fromkeys((
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
))  # fmt: skip
_BOTH: Rules = {
    **ELSEWHERE, "layer_norm_eps": (1e-5,), "pruned_heads": ({}, None), "is_decoder": (False,),
    "add_cross_attention": (False,), "use_bfloat16": (False,),
}  # fmt: skip
_TOP: Rules = {
    **_BOTH, "projection_dim": Read(_whole, 512), "model_type": ("clip",), "eos_token_id": (None, 2, 49407),
    **dict.fromkeys(("text_config", "vision_config", "text_config_dict", "vision_config_dict")),
}  # fmt: skip
_SIDES: Mapping[str, Rules] = {
    "text": {
        **_BOTH, "hidden_size": Read(_whole, 512), "intermediate_size": Read(_whole, 2048),
        "num_hidden_layers": Read(_whole, 12), "num_attention_heads": Read(_whole, 8),
        "hidden_act": Read(_any, QUICK_GELU), "vocab_size": (VOCABULARY,), "max_position_embeddings": (POSITIONS,),
        "eos_token_id": (2, 49407), "model_type": ("clip_text_model",),
    },
    "vision": {
        **_BOTH, "hidden_size": Read(_whole, 768), "intermediate_size": Read(_whole, 3072),
        "num_hidden_layers": Read(_whole, 12), "num_attention_heads": Read(_whole, 12),
        "hidden_act": Read(_any, QUICK_GELU), "image_size": Read(pixels, 224), "patch_size": Read(pixels, 32),
        "num_channels": (3,), "model_type": ("clip_vision_model",), "eos_token_id": (None,),
    },
}  # fmt: skip
_RESAMPLE = {2: "bilinear", 3: "bicubic"}  # Pillow's numbers
_PROCESSORS = tuple(
    f"{kind}{rest}"
    for kind in ("CLIP", "Siglip", "ChineseCLIP", "AltCLIP")
    for rest in ("ImageProcessor", "FeatureExtractor", "ImageProcessorFast", "ImageProcessorPil")
)


def _height_and_width(value: Any, name: str) -> int:
    if isinstance(value, dict):
        read_by({"height": None, "width": None}, value, f"{name}.")
        value = [value.get("height"), value.get("width")]
    return pixels(value, name)


def _resize(value: Any, name: str) -> tuple[str, int]:
    """How images are scaled, and to which side in pixels."""
    if isinstance(value, dict) and set(value) != {"shortest_edge"}:
        return SQUASH, _height_and_width(value, name)
    return SHORTEST, pixels(value["shortest_edge"] if isinstance(value, dict) else value, name)


_PREPROCESSOR: Rules = {
    "size": Read(_resize), "image_mean": Read(_mean), "image_std": Read(_std), "resample": Read(one_of(*_RESAMPLE)),
    "do_center_crop": Read(_any, True), "crop_size": None,
    "do_resize": (True,), "do_normalize": (True,), "do_rescale": (True,), "do_pad": (False, None),
    "rescale_factor": (1 / 255,), "image_processor_type": _PROCESSORS, "feature_extractor_type": _PROCESSORS,
    "data_format": ("channels_first", None),
    **dict.fromkeys((
        "processor_class", "do_convert_rgb", "return_tensors", "device", "disable_grouping", "default_to_square",
        "_valid_processor_keys", "input_data_format", "pad_size", "image_seq_length",
    )),
}  # fmt: skip


def read_transformers(folder: Path) -> Design:
    """The design that config.json and preprocessor_config.json in a folder state.

    Raises:
        UserError: if one is missing or damaged, or states what is not supported; the key is named.
    """
    path = folder / TRANSFORMERS_FILE
    config, at = read_config(path), f"{path}: "
    kind = config.get("model_type")
    one_of("clip")(kind, f"{at}model_type")
    whole = read_by(_TOP, config, at)
    text, image = (_of_side(config, side, str(path)) for side in ("text", "vision"))
    if text["hidden_act"] != image["hidden_act"]:
        raise UserError(
            f"{at}hidden_act is {text['hidden_act']} in text_config and {image['hidden_act']} in vision_config: "
            "only CLIPs with one activation are supported"
        )
    activation = one_of(*ACTIVATIONS)(text["hidden_act"], f"{at}hidden_act")
    said = {
        f"{side} {ours}": found[key]
        for side, found in (("text", text), ("image", image))
        for ours, key in (("layers", "num_hidden_layers"), ("width", "hidden_size"), ("hidden", "intermediate_size"))
    }
    said.update(embed=whole["projection_dim"], patch=image["patch_size"])
    tokenizer = folder / TOKENIZER_FILE
    if tokenizer.exists():
        allowed = one_of(None, "CLIPTokenizer", "CLIPTokenizerFast")
        allowed(read_config(tokenizer).get("tokenizer_class"), f"{tokenizer}: tokenizer_class")
    heads = (text["num_attention_heads"], image["num_attention_heads"])
    return Design(activation, heads, images_of_folder(folder, image["image_size"]), said)


def _of_side(config: Mapping[str, Any], side: str, where: str) -> dict[str, Any]:
    """What a side's config says; an older `*_config_dict` decides, and must agree in all that is read."""
    key = f"{side}_config"
    names = [name for name in (key, f"{key}_dict") if config.get(name) is not None] or [key]
    parts = [part_of(config, name, where) for name in names]
    found = [read_by(_SIDES[side], part, f"{where}: {name}.") for name, part in zip(names, parts)]
    for name in found[0]:
        if name in parts[0] and found[0][name] != found[-1][name]:
            raise UserError(f"{where}: {key} and {key}_dict disagree on {name}: make them equal, or delete one")
    return found[-1]


def images_of_folder(folder: Path, size: int) -> Images:
    """How images are made, by a folder of transformers', for a model of this image size in pixels.

    Raises:
        UserError: if no file says it, or one states what is not supported.
    """
    path = folder / IMAGES_FILE
    if (folder / PROCESSOR_FILE).is_file() and not path.is_file():  # as transformers 5 saves it
        path = folder / PROCESSOR_FILE
        config, at = part_of(read_config(path), "image_processor", str(path)), f"{path}: image_processor."
    else:
        config, at = read_config(path, "how images are made"), f"{path}: "
    lacking = [key for key in ("size", "image_mean", "image_std", "resample") if key not in config]
    if lacking:
        raise UserError(f"{at}{lacking[0]} is missing: it does not say how images are made")
    found = read_by(_PREPROCESSOR, config, at)
    (resize, side), crops = found["size"], found["do_center_crop"]
    if any(str(config.get(key)).startswith("Siglip") for key in ("image_processor_type", "feature_extractor_type")):
        resize = resize if isinstance(config["size"], dict) else SQUASH  # SigLIP's take a single number for both sides
        crops = bool(config.get("do_center_crop"))
    cut = _height_and_width(config["crop_size"], f"{at}crop_size") if crops and "crop_size" in config else side
    if side != size or cut != size:
        raise UserError(f"{at}images of {side} pixels, cut to {cut}, do not fit the model, which needs {size}")
    if resize == SHORTEST and not crops:
        raise UserError(f"{at}do_center_crop is false: only images that are cut to a square are supported")
    return Images(size, found["image_mean"], found["image_std"], _RESAMPLE[found["resample"]], resize)
