"""What transformers' `config.json` and `preprocessor_config.json` say of the weights beside them."""

from pathlib import Path
from typing import Any, Dict, Mapping, Tuple

from modprompt.clips.config_keys import channels, part, read_config, require_known, square, whole
from modprompt.clips.design import ACTIVATIONS, SHORTEST, SQUASH, Design, Images
from modprompt.clips.families import BERT_TEXT, SIGLIP, WORLDWIDE, refused
from modprompt.clips.measures import POSITIONS, VOCABULARY
from modprompt.errors import UserError

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
    **_TRANSFORMERS_SIDE, "vocab_size": (VOCABULARY,), "max_position_embeddings": (POSITIONS,), "eos_token_id": (2, 49407),
    "model_type": ("clip_text_model",),
}  # fmt: skip
_TRANSFORMERS_IMAGE_ONLY: Dict[str, Tuple[Any, ...]] = {
    **_TRANSFORMERS_SIDE, "num_channels": (3,), "model_type": ("clip_vision_model",), "eos_token_id": (None,),
}  # fmt: skip
_TRANSFORMERS_TOP = {"text_config", "vision_config", "text_config_dict", "vision_config_dict", "projection_dim"}
_TRANSFORMERS_TOP_ONLY: Dict[str, Tuple[Any, ...]] = {**_TRANSFORMERS_SIDE, "model_type": ("clip",), "eos_token_id": (None, 2, 49407)}
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
        text["hidden_act"], heads, _transformers_images(read_config(images, "how images are made"), size, f"{images}: "), said
    )


def _side(config: Mapping[str, Any], side: str, where: str) -> Dict[str, Any]:
    """A side's config with defaults; the older `*_config_dict` beside it must agree in all that is read_transformers."""
    key, defaults = f"{side}_config", {**_TRANSFORMERS_DEFAULTS[side], "hidden_act": "quick_gelu"}
    names = [name for name in (key, f"{key}_dict") if config.get(name) is not None] or [key]
    found = {name: part(config, name, where) for name in names}
    for name, given in found.items():
        require_known(given, defaults, _TRANSFORMERS_FREE, _TRANSFORMERS_TEXT_ONLY if side == "text" else _TRANSFORMERS_IMAGE_ONLY, f"{where}: {name}.")
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
