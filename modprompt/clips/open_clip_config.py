"""What `open_clip_config.json` says of the weights beside it; what it leaves out has open_clip's defaults."""

from pathlib import Path
from typing import Any, Dict, Mapping, Tuple

from modprompt.clips.config_keys import channels, part, ratio, read_config, require_known, square, whole
from modprompt.clips.design import GELU, OPENAI_MEAN, OPENAI_STD, QUICK_GELU, SHORTEST, SQUASH, Design, Images
from modprompt.clips.families import BERT_TEXT, COCA, EVA, SIGLIP, TIMM, refused
from modprompt.clips.measures import POSITIONS, VOCABULARY
from modprompt.errors import UserError

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
    return Design(QUICK_GELU if quick else GELU, heads, _open_clip_images(images, size, f"{where}: preprocess_cfg."), said)


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
