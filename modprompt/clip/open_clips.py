"""The pretrained tags and configs of open_clip.

A model_cfg is the part of a config that describes the architecture. Configs that would make open_clip download or run
something are rejected.
"""

import contextlib
import copy
import functools
import importlib
import inspect
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

from modprompt.checks import known_names
from modprompt.clip import package
from modprompt.clip.spec import FEATURES, PROMPTED, RESNET, SHORTEST, SQUASH, Images, Kinds
from modprompt.clip.tokenizers import FileTokenizer
from modprompt.errors import UserError
from modprompt.io.files import Refused, read_text
from modprompt.io.records import parse_json
from modprompt.programs import one_line

CONFIG_FILE, TRANSFORMERS_FILE = "open_clip_config.json", "config.json"
HEAD, RATIO = 64, 4  # width of a head, and of feed-forward parts in widths, in models that the `clip` package builds
_TIMM, _TIMM_NAME = "timm_model_name", re.compile(r"[a-z0-9_]+")  # with an owner before it timm would ask a hub
_SIZES = (  # which stock sides may have as they like; the other keys must have open_clip's defaults
    "layers", "width", "heads", "head_width", "mlp_ratio", "patch_size", "image_size", "output_tokens",
)  # fmt: skip
_IDLE = (
    "pad_id", "eos_id", "hf_proj_type", "hf_pooler_type", "attn_pooler_queries", "attn_pooler_heads", "timm_pool",
    "timm_proj", "timm_proj_bias",
)  # fmt: skip
_NO_PART = (  # in eval mode, or once weights are loaded
    "timm_model_pretrained", "timm_drop", "timm_drop_path", "patch_dropout", "hf_model_pretrained", "custom_text",
    "init_logit_scale", "output_dict", "cast_dtype",
)  # fmt: skip


class Tag(NamedTuple):
    """A pretrained tag of open_clip."""

    name: str  # MODEL/TAG
    model: dict[str, Any]  # its model_cfg, with the activation that its weights were trained with
    images: Images
    repo: str  # OWNER/NAME on the Hugging Face hub
    revision: str  # that was asked for, if any
    file: str  # of its weights there; empty if it is one of open_clip's usual names
    differ: bool  # tag and config say different activations


def tags() -> list[tuple[str, str]]:
    """Return (MODEL, TAG) of all pretrained models of open_clip."""
    return list(package.open_clip().list_pretrained())


def tag(name: str) -> Tag:
    """Return the pretrained tag with the name MODEL/TAG or MODEL/TAG@revision.

    Raises:
        UserError: if open_clip has no such tag; the message suggests similar names.
    """
    name, _, revision = name.partition("@")
    model, _, which = name.rpartition("/")
    try:
        found: Mapping[str, Any] = package.open_clip().get_pretrained_cfg(model, which)
    except UserError as error:
        raise UserError(
            f"{name!r} is not one of OpenAI's CLIP models, so the model must come from open_clip. {error}"
        ) from None
    if not found:
        known = [f"{one}/{other}" for one, other in tags()]
        near = known_names(name, [one for one in known if one.startswith(f"{model}/")] or known)
        raise UserError(f"open_clip has no CLIP model {name!r}{near} Run `modprompt backbones` to list all models.")
    owner, repo, *file = found["hf_hub"].split("/")
    config = model_config(model, f"{name}: ")
    says, trained = bool(config.get("quick_gelu")), bool(found.get("quick_gelu"))
    config["quick_gelu"] = says or trained  # as open_clip runs it where it is asked to force it
    mean, std = tuple(found["mean"]), tuple(found["std"])
    images = Images(image_size(config, f"{name}: "), mean, std, found["interpolation"], found["resize_mode"])
    return Tag(name, config, images, f"{owner}/{repo}", revision, "".join(file), says != trained)


def model_config(model: str, where: str) -> dict[str, Any]:
    """Return the model_cfg that open_clip has for a MODEL; raise UserError if it has none."""
    found = package.open_clip().get_model_config(model)
    if found is None:
        near = known_names(model, package.open_clip().list_models())
        raise UserError(f"{where}open_clip has no model {model!r}{near}")
    return checked(found, where)


def of_name(name: str) -> tuple[dict[str, Any], Images]:
    """Return the model_cfg and the image preprocessing of a MODEL or MODEL/TAG of open_clip.

    Raises:
        UserError: if there is no such model, or its tags differ in activation or preprocessing.
    """
    where = "MODEL.BACKBONE.MODEL: "
    if "/" in name:
        return tag(name)[1:3]
    model = model_config(name, where)
    found = [tag(f"{name}/{one}") for one in package.open_clip().list_pretrained_tags_by_model(name)]
    ways = [(one.model["quick_gelu"], one.images) for one in found]
    if len(set(ways)) > 1:
        raise UserError(
            f"{where}the pretrained tags of {name} use different activation functions or image preprocessing. Set "
            f"MODEL.BACKBONE.MODEL to {' or '.join(one.name for one in found)}."
        )
    return found[0][1:3] if found else (model, Images(image_size(model, where), stated=False))


def read_config(path: Path) -> dict[str, Any]:
    """Return the JSON object in a config file; raise UserError if the file is missing or contains no JSON object."""
    try:
        content = parse_json(read_text(path))
    except FileNotFoundError:
        raise UserError(
            f"{path} is missing. Copy the file from the place from which you downloaded the weights."
        ) from None
    except Refused as error:
        raise UserError(
            f"{path} is damaged: its content is not valid JSON ({str(error)[:80]}). Download the file again."
        ) from None
    if not isinstance(content, dict):
        raise UserError(f"{path} does not contain a JSON object, so the file is damaged. Download the file again.")
    return content


def of_file(path: Path) -> tuple[dict[str, Any], Images]:
    """Return the model_cfg and the image preprocessing of a file open_clip_config.json.

    Raises:
        UserError: if the file is missing or damaged, contains unknown keys, or would make open_clip download or run
            something.
    """
    config = read_config(path)
    if "model_cfg" not in config:
        config = {"model_cfg": config}
    model = checked(config.pop("model_cfg"), f"{path}: ")
    made, at = config.pop("preprocess_cfg", None) or {}, f"{path}: preprocess_cfg."
    if config:
        raise UserError(
            f"{path}: the key {next(iter(config))} is not supported. Supported keys are model_cfg and preprocess_cfg."
        )
    size = image_size(model, f"{path}: ")
    with _one_line(at[:-1]):
        found = package.open_clip().transform.PreprocessCfg(**{"size": size, **made})
    how, resize = found.interpolation, found.resize_mode
    if how not in ("bicubic", "bilinear") or resize not in (SHORTEST, SQUASH):
        only = f"interpolation bicubic or bilinear and resize_mode {SHORTEST} or {SQUASH}"
        raise UserError(
            f"{at}interpolation {how} with resize_mode {resize} is not supported. Only {only} are supported."
        )
    if found.size not in (size, [size, size]):
        raise UserError(f"{at}size is {found.size}, but the model needs {size}. Correct the file.")
    return model, Images(size, three(found.mean, f"{at}mean"), three(found.std, f"{at}std"), how, resize)


def three(value: Any, name: str) -> tuple[float, ...]:
    """Return three numbers from 0 to 1 as a tuple; raise UserError for other values, or a standard deviation of 0."""
    numbers = value if isinstance(value, (list, tuple)) and len(value) == 3 else [None]
    if not all(isinstance(one, (int, float)) and 0 <= one <= 1 and (one or "std" not in name) for one in numbers):
        raise UserError(f"{name} must be three numbers from 0 to 1, got {str(value)[:60]}.")
    return tuple(map(float, numbers))


def image_size(model: Mapping[str, Any], where: str) -> int:
    """Return the side length of the images of a model in pixels."""
    given = model["vision_cfg"]["image_size"]
    sides = given if isinstance(given, (list, tuple)) else [given]
    if not sides or not all(type(one) is int and one == sides[0] and 0 < one < 1 << 14 for one in sides):
        raise UserError(f"{where}image_size must be a single number of pixels (square images), got {str(given)[:40]}.")
    return int(sides[0])


def checked(given: Any, where: str) -> dict[str, Any]:
    """Return a model_cfg with all sizes; raise UserError if it has unknown keys or would download or run something."""
    found: dict[str, Any] = copy.deepcopy(given) if isinstance(given, dict) else {}
    for key, kind in part_classes().items():
        if key in found or key != "multimodal_cfg":
            with _one_line(f"{where}{key}"):
                known = asdict(kind(**found.get(key, "")))
            found[key].update({name: known[name] for name in _SIZES if name in known})
    for part in (found, *(found[key] for key in part_classes() if key in found)):
        for key in _NO_PART:
            part.pop(key, None)
    with _one_line(where[:-2]):
        inspect.signature(model_class(found)).bind(**found)
    text, timm = found["text_cfg"], found["vision_cfg"].get(_TIMM)
    with _one_line(f"{where}text_cfg.tokenizer_kwargs"):
        inspect.signature(FileTokenizer).bind(None, 0, **(text.get("tokenizer_kwargs") or {}))
    if timm and not _TIMM_NAME.fullmatch(str(timm)):
        raise UserError(f"{where}vision_cfg.{_TIMM} is {str(timm)[:60]!r}, which is not the name of a timm model.")
    if text.get("tokenizer_mode"):
        raise UserError(
            f"{where}text_cfg.tokenizer_mode {text['tokenizer_mode']!r} is not supported. Use a model without a "
            "tokenizer_mode."
        )
    return found


@contextlib.contextmanager
def _one_line(where: str) -> Iterator[None]:
    """Turn errors of the classes of open_clip in a block, for example on unknown keys, into a UserError."""
    try:
        yield
    except (TypeError, AssertionError) as error:
        raise UserError(f"{where} is not supported ({one_line(error)[:160]}).") from None


def model_class(model: Mapping[str, Any]) -> Any:
    return package.open_clip().CoCa if "multimodal_cfg" in model else package.open_clip().CustomTextCLIP


@functools.cache
def part_classes() -> dict[str, Any]:
    """Return the classes of open_clip for the parts of a model_cfg."""
    model, coca = package.open_clip().model, importlib.import_module("open_clip.coca_model")
    return {"text_cfg": model.CLIPTextCfg, "vision_cfg": model.CLIPVisionCfg, "multimodal_cfg": coca.MultimodalCfg}


def is_stock_side(model: Mapping[str, Any], key: str) -> bool:
    """Return True if a part of a model_cfg (text_cfg or vision_cfg) describes an encoder of OpenAI's architecture."""
    part = model[key]
    rest = {one: value for one, value in part.items() if one not in (*_SIZES, *_IDLE) and value not in (None, "", {})}
    return not rest or all(value == getattr(part_classes()[key], one) for one, value in rest.items())


def is_stock(model: Mapping[str, Any]) -> bool:
    """Return True if both encoders of a model_cfg have OpenAI's architecture."""
    return is_stock_side(model, "text_cfg") and is_stock_side(model, "vision_cfg")


def kinds_of(model: Mapping[str, Any]) -> Kinds:
    """Return the kinds of both encoders of a model_cfg."""
    text, image = model["text_cfg"], model["vision_cfg"]
    last = text.get("pool_type") == "last" and bool(text.get("no_causal_mask"))
    siglip = last and (text.get("proj_bias") or text.get("proj_type") == "none")
    causal = text.get("pool_type", "argmax") in ("argmax", "eos") and not text.get("no_causal_mask")
    plain = not text.get("hf_model_name") and not text.get("embed_cls") and (siglip or causal)
    pooled = "siglip" in str(image.get(_TIMM)) and image.get("timm_pool") == "map"
    stock, resnet = is_stock_side(model, "vision_cfg"), isinstance(image["layers"], list)
    side = PROMPTED if pooled or (stock and not resnet) else RESNET if stock else FEATURES
    return Kinds(PROMPTED if plain else FEATURES, side)


def layers_of(model: Mapping[str, Any]) -> tuple[int, int]:
    """Return the numbers of layers of the text and the image encoder of a model_cfg, or 0 if a number is unknown."""
    kinds, text, image = kinds_of(model), model["text_cfg"]["layers"], model["vision_cfg"]["layers"]
    is_told = kinds.image == PROMPTED and is_stock_side(model, "vision_cfg")
    return text if kinds.text == PROMPTED else 0, image if is_told else 0


def is_clips(model: Mapping[str, Any]) -> bool:
    """Return True if the `clip` package can build exactly this model."""
    text, image = model["text_cfg"], model["vision_cfg"]
    usual = {"heads": text["width"] / HEAD, "head_width": HEAD, "mlp_ratio": RATIO}
    same = all(part.get(name, value) == value for part in (text, image) for name, value in usual.items())
    return same and bool(model.get("quick_gelu")) and is_stock(model)
