"""Loading a CLIP model from a name, a file or a folder."""

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from modprompt.clip import build, hub, known, lookup, open_clip_models, open_clips, tokenizers
from modprompt.clip.facts import facts_of, fingerprint, hashing, note
from modprompt.clip.open_clips import TRANSFORMERS_FILE
from modprompt.clip.read import read_embedded, read_state, shape_of, sizes_of_tensors
from modprompt.clip.resolve import fetched, find
from modprompt.clip.spec import (
    EMBEDDED,
    GELU,
    PROMPTED,
    QUICK_GELU,
    RESNET,
    SQUASH,
    TRANSFORMERS,
    ClipSpec,
    Images,
    Kinds,
    Shape,
)
from modprompt.clip.tokenizers import POSITIONS, VOCABULARY, ClipTokenizer, FileTokenizer, Tokenizer
from modprompt.clip.towers import CLIP, image_width, joint_width, text_width
from modprompt.errors import UserError
from modprompt.io.files import of_user

_TEXT_FOLDER = "text_config"
_UNUSED = {"roberta": 2, "xlm-roberta": 2}  # positions: theirs begin after the padding id


class Architecture(NamedTuple):
    """The architecture of a registered CLIP model, for files with weights of the same architecture."""

    activation: str  # quick_gelu or gelu
    heads: tuple[int, int]  # numbers of attention heads: (text side, image side)
    shape: Shape


def architecture_of(name: str) -> Architecture | None:
    """Return the architecture of a registered CLIP; None for one of open_clip's that is not of OpenAI's design.

    Raises:
        UserError: if there is no such CLIP, or it is a repository of a hub, whose files alone say it.
    """
    tag, name = lookup.require(name), known.plain(name)
    if name.startswith(hub.PREFIX):
        raise UserError(
            f"--backbone {name} is a repository of the Hugging Face hub, and its architecture is not known before its "
            "files are downloaded. Specify a registered CLIP model (`modprompt backbones` lists them), or set "
            "MODEL.BACKBONE.MODEL to the name of the architecture in open_clip."
        )
    if tag is None:
        shape = shape_of(read_embedded(), name) if name == EMBEDDED else known.shape_of_openai(name)
        return Architecture(QUICK_GELU, shape.heads, shape)
    if not open_clips.is_stock(tag.model):
        return None
    text, image, width = tag.model["text_cfg"], tag.model["vision_cfg"], tag.model["vision_cfg"]["width"]
    is_resnet = isinstance(image["layers"], list)
    layers = text["layers"], 0 if is_resnet else image["layers"]
    patch = 0 if is_resnet else image["patch_size"]
    shape = Shape(tag.images.size, patch, layers, (text["width"], width), tag.model["embed_dim"])
    heads = text["heads"], width // 2 if is_resnet else width // image["head_width"]
    return Architecture(QUICK_GELU if tag.model["quick_gelu"] else GELU, heads, shape)


def _tokenizer_of(found: ClipSpec, config: Mapping[str, Any]) -> Tokenizer:
    """Return the tokenizer of a model of open_clip.

    Args:
        found: the model.
        config: its model_cfg. A text encoder of transformers is replaced in place by the folder of its config.

    Raises:
        UserError: if a file is missing, or belongs to another CLIP model.
    """
    part: dict[str, Any] = config["text_cfg"]
    folder, side, name = found.weights.parent, part.get("hf_model_name"), part.get("hf_tokenizer_name")
    if side:
        file = folder / _TEXT_FOLDER / TRANSFORMERS_FILE
        if not file.is_file():
            lacking = (
                f"{_TEXT_FOLDER}/{TRANSFORMERS_FILE}, the config of the text encoder {side}, is missing in the folder "
                f"of the weights. Copy the config from the repository {side}."
            )
            file = _named(found, str(side), lacking, (TRANSFORMERS_FILE,))
        part["hf_model_name"] = str(file.parent)
    text, given = open_clip_models.text_config(config), part.get("tokenizer_kwargs") or {}
    length, vocabulary = part.get("context_length", POSITIONS), (text or part).get("vocab_size", VOCABULARY)
    if not name:
        if text or vocabulary != VOCABULARY or given:
            raise UserError(
                f"{found.called}: the config does not specify a tokenizer (text_cfg.hf_tokenizer_name), and CLIP's "
                "own tokenizer does not fit this text encoder. Add text_cfg.hf_tokenizer_name to the config."
            )
        return ClipTokenizer(length)
    kind = str(text.get("model_type"))
    if text and length > text.get("max_position_embeddings", length) - _UNUSED.get(kind, 0):
        raise UserError(
            f"{found.called}: the context_length is {length}, but the text encoder has fewer positions. Correct the "
            "config."
        )
    end = part.get("eos_id", 2) if part.get("pool_type") == "eos" and not text else None
    padding = text.get("pad_token_id", 0 if kind == "bert" else 1) if text else None
    padding = part.get("pad_id", 0) if part.get("embed_cls") else padding
    if known.is_tag(found.name) or not any((folder / one).is_file() for one in tokenizers.CARRIERS):
        files = ", ".join((*tokenizers.CARRIERS, *tokenizers.SETTINGS))
        lacking = (
            f"the tokenizer of {name} is missing in the folder of the weights. Copy those of the following files that "
            f"exist in the repository {name}: {files}."
        )
        more = (*tokenizers.SETTINGS, TRANSFORMERS_FILE)
        folder = _named(found, str(name), lacking, tokenizers.CARRIERS, more).parent
    tokenizer = FileTokenizer(folder, length, **given)
    tokenizer.require_fitting(str(folder), vocabulary, padding, end)
    return tokenizer


def _named(found: ClipSpec, repo: str, lacking: str, needed: Sequence[str], more: Sequence[str] = ()) -> Path:
    """Download a file from a repository to which a config of open_clip refers; raise UserError for other configs."""
    if not known.is_tag(found.name):
        raise UserError(f"{found.called}: {lacking}")

    def choose(there: Sequence[str]) -> list[str]:
        if not any(one in there for one in needed):
            raise UserError(f"the repository has none of the files {', '.join(needed)}.")
        return [one for one in (*needed, *more) if one in there]

    return fetched(found.called, repo, "", choose)[0]


def load_clip(
    name: str | Path = "ViT-B/16",
    device: str | torch.device | None = None,
    *,
    activation: str = "",
    heads: Sequence[int] = (),
    model: str = "",
) -> tuple[CLIP, Callable[..., Tensor]]:
    """Return a CLIP model in eval mode, and the transform from a PIL image to a tensor (3, H, W).

    Args:
        name: the name of a model of OpenAI ("ViT-B/16") or open_clip ("ViT-B-16/laion2b_s34b_b88k"), the bundled model
            "glyph-clip", a repository "hf-hub:owner/name@revision", or a file or folder of weights (docs/backbones.md).
            `modprompt backbones` lists all names.
        device: the device of the model; by default CUDA if available, else the CPU. On a CPU the weights are float32,
            on other devices they have the type of the file (float16 for models of OpenAI).
        activation: quick_gelu or gelu, for a file without a config.
        heads: the attention heads of the text and the image encoder, for a file without a config.
        model: the name of the architecture in open_clip, for a file without a config, such as "ViT-B-16-SigLIP2".

    Raises:
        UserError: if the name is unknown, the weights cannot be found or read, or their architecture is unknown.
    """
    place = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    clip_model = load(lookup.named(str(name))._replace(activation=activation, heads=tuple(heads), model=model)).eval()
    clip_model = (clip_model.float() if place.type == "cpu" else clip_model).to(place)
    return clip_model, transform_of(clip_model)


def load(asked: ClipSpec) -> CLIP:
    """Load a CLIP model in eval mode and compute its `fingerprint`; the errors are those of `load_clip`.

    Models of OpenAI's architecture are built by the `clip` package, whose constructor draws random numbers as in the
    original code of CoOp. Other models draw no random numbers.
    """
    found = find(asked)
    lookup.note(asked)
    config = found.config or {}
    try:
        by_clip = not config or open_clips.is_clips(config)
        tokenizer = (
            ClipTokenizer() if by_clip else _tokenizer_of(found, config)
        )  # before weights are read, which takes longer
    except TypeError as error:
        raise UserError(
            f"{found.called}: the config is not supported ({error}). Use a model that open_clip supports."
        ) from None
    if by_clip:
        state = read_state(found)
        with hashing(state) as fingerprint_of:
            clip_model = build.build_clip(state, asked.activation, asked.heads)
            clip_model.fingerprint = fingerprint_of(clip_model)
        _require_sizes(clip_model, found)
    else:
        clip_model = cast(CLIP, open_clip_models.build(config, read_state(found), tokenizer, found.called))
        clip_model.fingerprint = fingerprint(clip_model.state_dict(), clip_model)
    note(
        clip_model, found.images, name=found.name, file="" if found.name else of_user(asked.path).resolve().name,
        dialect=found.dialect, commit=found.commit, sha256=found.sha256, model=asked.model,
    )  # fmt: skip
    return clip_model


def _require_sizes(clip_model: CLIP, found: ClipSpec) -> None:
    """Raise UserError unless tensors, off which the `clip` package reads sizes, are those of the config."""
    sizes = [("vocab_size", VOCABULARY, clip_model.token_embedding.num_embeddings)]
    if found.config:
        text, image = found.config["text_cfg"], found.config["vision_cfg"]
        (texts, images), width = build.layers_of(clip_model), image_width(clip_model)
        sizes += [
            ("embed_dim", found.config["embed_dim"], joint_width(clip_model)),
            ("text_cfg.layers", text["layers"], texts),
            ("text_cfg.width", text["width"], text_width(clip_model)),
            ("vision_cfg.layers", image["layers"], images or image["layers"]),  # a ResNet has none
            ("vision_cfg.width", image["width"], width if images else 2 * width),  # its stem is half as wide
            ("image_size", found.images.size, clip_model.visual.input_resolution),
        ]
    for name, said, has in sizes:
        if said != has:
            raise UserError(
                f"{found.called}: {name} is {has} in the weights, but {said} in the config. Use the config that "
                "belongs to the weights."
            )


def images_of(asked: ClipSpec) -> Images:
    """Return the image preprocessing of a CLIP model; weights are downloaded if this is necessary.

    Raises:
        UserError: the errors of `resolve.find`, or if a file without a config is not a CLIP model.
    """
    name = known.plain(asked.name)
    if not asked.path and name in known.OPENAI:
        return Images(known.OPENAI[name].pixels)
    tag = None if asked.path else lookup.require(name)
    if tag is not None:
        return cast(Images, tag.images)
    found = find(asked)
    return found.images if found.images.size else found.images._replace(size=sizes_of_tensors(asked)[0])


def kinds_and_layers(asked: ClipSpec) -> tuple[Kinds, tuple[int, int]] | None:
    """Return the kinds and the numbers of layers of both encoders, also for a file or folder; see `lookup`."""
    if not asked.path:
        return lookup.kinds_and_layers(asked.name)
    found = find(asked)
    if found.config:
        return open_clips.kinds_of(found.config), open_clips.layers_of(found.config)
    of_row = (row.layers for row in known.OPENAI.values() if found.sha256 and row.sha256 == found.sha256)
    layers = next(of_row, None) or sizes_of_tensors(asked)[1]
    return Kinds(image=PROMPTED if layers[1] else RESNET), layers


def transform_of(clip_model: CLIP) -> Callable[..., Tensor]:
    """Return the transform from a PIL image to a tensor (3, H, W) for a CLIP model.

    Raises:
        UserError: if modprompt did not load the model, so that the preprocessing is unknown.
    """
    facts = facts_of(clip_model)
    if not facts.mean:
        raise UserError(
            "The preprocessing of images for this CLIP model is unknown. Use the transform that belongs to the model."
        )
    images = Images(facts.size, facts.mean, facts.std, facts.interpolation, facts.resize)
    return image_transform(images, facts.dialect == TRANSFORMERS)


def image_transform(images: Images, colours_first: bool = False) -> Callable[..., Tensor]:
    """Return a transform that resizes, crops the centre and normalises.

    Images are converted to RGB after the crop, as in `clip.load`, or before all other steps (`colours_first`).
    """
    from torchvision import transforms

    size, how = images.size, transforms.InterpolationMode(images.interpolation)
    resize = transforms.Resize([size, size] if images.resize == SQUASH else size, interpolation=how)
    steps = [*([to_rgb] if colours_first else []), resize, transforms.CenterCrop(size), to_rgb, transforms.ToTensor()]
    composed: Callable[..., Tensor] = transforms.Compose([*steps, transforms.Normalize(images.mean, images.std)])
    return composed


def to_rgb(image: Any) -> Any:
    """Return a PIL image in RGB."""
    return image.convert("RGB")


def identity(clip: ClipSpec) -> tuple[str, Mapping[str, Any]]:
    """Return the fingerprint of a CLIP model, and information about its tokenizer if that is not the one of OpenAI.

    The weights are read, but only once as long as the files do not change.

    Raises:
        UserError: the errors of `load`.
    """
    return _identity(clip, lookup.state_of_files(clip))


@lru_cache(maxsize=64)
def _identity(clip: ClipSpec, looks: str) -> tuple[str, Mapping[str, Any]]:
    with torch.random.fork_rng(devices=[]):
        clip_model = load(clip)
    return clip_model.fingerprint, facts_of(clip_model).tokenizer
