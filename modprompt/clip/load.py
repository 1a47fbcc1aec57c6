"""A CLIP with its image transform, the pair that clip.load gives: from a name, a file or a folder."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from modprompt.clip import build, hub, known, open_clips, present, source, transformers_names
from modprompt.clip.design import SQUASH, Images
from modprompt.clip.facts import facts_of, fingerprint, hashing, note
from modprompt.clip.open_clips import POSITIONS, VOCABULARY
from modprompt.clip.present import Asked
from modprompt.clip.source import BARE, OPENAI, SUFFIXES, TRANSFORMERS, Source
from modprompt.clip.structure import CLIP
from modprompt.errors import UserError
from modprompt.io.arrays import read_arrays
from modprompt.io.files import of_user
from modprompt.io.tensors import read_safetensors, read_shards, read_tensors

_FILE = Path(__file__).parent / "models" / "glyph_clip.npz"
_DERIVED = (".attn_mask", "attn_mask", ".position_ids")  # each model computes its own
_TYPES = (torch.float32, torch.float16, torch.bfloat16)


def load_clip(
    name: str | Path = "ViT-B/16",
    device: str | torch.device | None = None,
    *,
    activation: str = "",
    heads: Sequence[int] = (),
    model: str = "",
) -> tuple[CLIP, Callable[..., Tensor]]:
    """A CLIP in eval mode, and the transform of its images: from a PIL image to (3, H, W).

    Args:
        name: a known name (`modprompt backbones` lists them: OpenAI's, "glyph-clip", the small one that ships with the
            package, open_clip's as "ViT-B-16/laion2b_s34b_b88k"), a hub's "hf-hub:owner/name@revision", or a file or
            folder of weights (docs/backbones.md).
        device: where to put it; CUDA if there is any, else the CPU. On a CPU its weights are float32, elsewhere as
            they were saved, OpenAI's half.
        activation: quick_gelu or gelu, for a file of which nothing else says it.
        heads: likewise, numbers of attention heads: (text side, image side).
        model: likewise, open_clip's name of the model: "ViT-B-16-SigLIP2", or with its tag.

    Raises:
        UserError: on an unknown name, weights that cannot be found or read, or of which nothing says how to run them.
    """
    if not isinstance(name, (str, Path)) or not str(name):
        raise UserError(f"name must be a CLIP's name, or the path of a file or folder, got {name!r}")
    if isinstance(heads, str) or not isinstance(heads, Sequence):
        raise UserError(f"heads must be two whole numbers, (text side, image side), got {heads!r}")
    place = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    path = path_of(str(name))
    clip_model = load(Asked("" if path else str(name), path, activation, tuple(heads), model)).eval()
    clip_model = (clip_model.float() if place.type == "cpu" else clip_model).to(place)
    return clip_model, transform_of(clip_model)


def path_of(name: str) -> str:
    """The file or folder that a name means; empty if it is a CLIP's name."""
    path = of_user(name)
    if not known.is_tag(name):
        return ""
    try:
        is_there = path.exists()
    except OSError:  # too long, or in a folder without permission: reported when it is read
        is_there = True
    looks_so = path.suffix in SUFFIXES or name.startswith(("/", "./", "../", "~"))
    return str(path) if is_there or looks_so else ""


def load(asked: Asked) -> CLIP:
    """A CLIP in eval mode, with its facts and its `fingerprint`; raises as load_clip.

    What the `clip` package can build, it builds, and draws from torch's generator as in the family; open_clip's models
    draw nothing.
    """
    found = source.find(asked)
    present.note(asked)
    state = _read(found)
    model = _model_of(found, state)
    if model is None or open_clips.is_clips(model):
        with hashing(state) as fingerprint_of:
            clip_model = build.build_clip(state)
            clip_model.fingerprint = fingerprint_of(clip_model)
    else:
        text = source.text_folder(found)
        tokenizer = source.tokenizer_of(found, text)
        clip_model = cast(CLIP, open_clips.build(model, state, tokenizer, found.called, text))
        clip_model.fingerprint = fingerprint(clip_model.state_dict(), clip_model)
    note(clip_model, found)
    return clip_model


def _read(found: Source) -> dict[str, Tensor]:
    """The tensors of a source under OpenAI's names, or open_clip's."""
    if found.weights is None:
        return read_embedded()
    where = found.called
    openai = found.dialect == OPENAI
    state = _plain(read_tensors(found.weights, (found.sha256,)) if openai else _content(found.weights), where)
    if found.dialect == TRANSFORMERS:
        state = transformers_names.to_openai(state, where)
    for name, value in list(state.items()):  # one after the other: both forms of all would need too much memory
        if value.dtype == torch.bfloat16:
            state[name] = value.float()
    stock = found.model is None or (open_clips.is_stock_text(found.model) and open_clips.is_stock_image(found.model))
    if stock and "text.positional_embedding" in state:  # open_clip's custom_text
        state = {name.removeprefix("text."): value for name, value in state.items()}
    for name in ("logit_scale", "logit_bias"):
        if name in state and state[name].numel() == 1:
            state[name] = state[name].reshape(())  # in some of open_clip's it is a vector of one
    return state


def _content(path: Path) -> Any:
    if path.name.endswith(".index.json"):
        return read_shards(path, _content)
    if path.suffix == ".json":
        raise UserError(f"{path} is a config, not weights: give the folder, or the file of weights in it")
    return read_safetensors(path)[0] if path.suffix == ".safetensors" else read_tensors(path)


def _plain(content: Any, where: str) -> dict[str, Tensor]:
    """The tensors of a saved file by name: without wrappers, and without what each model computes itself."""
    found = content.get("state_dict", content) if isinstance(content, Mapping) else None
    if not isinstance(found, Mapping):
        raise UserError(f"{where} is not the state dict of a CLIP: it holds no tensors by name")
    parallel = all(str(name).startswith("module.") for name in found)  # DataParallel's
    named = ((str(name).removeprefix("module.") if parallel else str(name), value) for name, value in found.items())
    state = {name: value for name, value in named if name not in build.BOOKKEEPING and not name.endswith(_DERIVED)}
    for name, value in state.items():
        plain = isinstance(value, Tensor) and value.layout == torch.strided
        if not (plain and (value.dtype in _TYPES or name.endswith(".num_batches_tracked"))):
            raise UserError(f"{where} is not the state dict of a CLIP: {name} is no plain tensor of numbers")
    return state


def _model_of(found: Source, state: Mapping[str, Tensor]) -> dict[str, Any] | None:
    """open_clip's model_cfg of a source, with which its tensors agree; None for OpenAI's and the embedded one."""
    if found.dialect == BARE:
        return _of_tensors(state, found)
    model = found.model
    if model is not None and open_clips.is_clips(model):  # the `clip` package reads sizes off the tensors
        there = _of_tensors(state, found)
        for part in ("", "text_cfg", "vision_cfg"):
            said, has = (model[part], there[part]) if part else (model, {"embed_dim": there["embed_dim"]})
            for name, value in has.items():
                if said[name] != value:
                    raise UserError(f"{found.called}: by its config {name} is {said[name]}, by its tensors {value}")
    return model


def _of_tensors(state: Mapping[str, Tensor], found: Source) -> dict[str, Any]:
    """The model_cfg that a stock CLIP's tensors show; activation and heads are the user's, or of the usual width.

    Raises UserError if they are not a stock CLIP's.
    """
    shapes = {name: tuple(one.shape) for name, one in state.items()}
    heads, where = found.asked.heads, f"{found.called}: these weights do not make up a CLIP"
    try:
        embed = shapes["text_projection"][1]
        text = _transformer(shapes, "transformer", shapes["text_projection"][0])
        text["heads"] = heads[0] if heads else text["width"] // open_clips.HEAD
        if "visual.proj" in shapes:
            width, patch = shapes["visual.conv1.weight"][0], shapes["visual.conv1.weight"][-1]
            image = {**_transformer(shapes, "visual.transformer", width), "patch_size": patch}
        else:
            width = shapes["visual.attnpool.positional_embedding"][1]  # of the attention pool
            image = {"layers": [_layers(shapes, f"visual.layer{stage}") for stage in (1, 2, 3, 4)]}
            image["width"] = width // 32
        image["image_size"] = pixels(shapes)
        words = shapes["positional_embedding"][0], shapes["token_embedding.weight"][0]
    except (KeyError, ValueError, IndexError, ZeroDivisionError) as error:
        what = f"{error.args[0]} is missing" if isinstance(error, KeyError) else "its projections are not matrices"
        raise UserError(f"{where} ({what}): check MODEL.BACKBONE") from None
    if words != (POSITIONS, VOCABULARY):
        said = f"texts of {words[0]} ids of {words[1]:,}, not CLIP's {POSITIONS} of {VOCABULARY:,}"
        raise UserError(f"{where} ({said}): check MODEL.BACKBONE")
    if heads and (width % heads[1] or text["width"] % heads[0]):
        raise UserError(f"{found.called}: HEADS {heads} do not divide the widths {text['width']} and {width}")
    image["head_width"] = width // heads[1] if heads else open_clips.HEAD
    quick = found.asked.activation != "gelu"
    return {"embed_dim": embed, "quick_gelu": quick, "text_cfg": text, "vision_cfg": image}


def _transformer(shapes: Mapping[str, tuple[int, ...]], side: str, width: int) -> dict[str, Any]:
    hidden = shapes[f"{side}.resblocks.0.mlp.c_fc.weight"][0]
    layers = _layers(shapes, f"{side}.resblocks")
    return {"layers": layers, "width": width, "mlp_ratio": open_clips.ratio(hidden, width)}


def _layers(shapes: Mapping[str, Any], front: str) -> int:
    return len({name[len(front) :].split(".")[1] for name in shapes if name.startswith(f"{front}.")})


def pixels(shapes: Mapping[str, tuple[int, ...]]) -> int:
    """The side of a CLIP's images, by OpenAI's names."""
    pool = "visual.attnpool.positional_embedding"
    if pool in shapes:
        return int(round((shapes[pool][0] - 1) ** 0.5)) * 32
    return int(round((shapes["visual.positional_embedding"][0] - 1) ** 0.5)) * shapes["visual.conv1.weight"][-1]


def images_of(asked: Asked) -> Images:
    """How a CLIP's images are made, with their size; only what will be read later anyway is downloaded.

    Raises UserError as source.find, and if a bare file is not a CLIP's.
    """
    name = known.plain(asked.name)
    if asked.path or name.startswith(hub.PREFIX) or name == known.EMBEDDED:
        return _images_of(source.find(asked))
    found = known.require(name)
    return found.images if found is not None else Images(known.OPENAI[name].pixels)


def _images_of(found: Source) -> Images:
    if found.images.size:
        return found.images
    return found.images._replace(size=_of_tensors(_read(found), found)["vision_cfg"]["image_size"])


def describe(asked: Asked) -> str:
    """What a CLIP is and what says so, in one line; raises as images_of."""
    found = source.find(asked)
    if found.weights is None:
        return f"{found.called}, which ships with the package"
    how = f"{found.dialect} weights, {_images_of(found).size} pixels"
    if found.dialect == BARE:
        return f"{found.called}: {how}, {found.asked.activation}, {found.asked.heads} heads (text, image), as given"
    return f"{found.called}: {how}" + (f", {open_clips.activation_of(found.model)}" if found.model else "")


def read_embedded() -> dict[str, Tensor]:
    """State dict of the embedded model; words that its training never used have zero embeddings."""
    try:
        arrays = {name: torch.from_numpy(array) for name, array in read_arrays(_FILE).items()}
        rows, size = arrays.pop("token_embedding.rows"), int(arrays.pop("token_embedding.size"))
        table = rows.new_zeros(size, rows.shape[1])
        table[arrays.pop("token_embedding.ids").long()] = rows
    except Exception:
        raise UserError(f"the embedded model {_FILE} is missing or damaged: check it out again") from None
    return {**arrays, "token_embedding.weight": table}


def transform_of(clip_model: CLIP) -> Callable[..., Tensor]:
    """The transform from a PIL image to (3, H, W), as this CLIP's images are made.

    Raises UserError for a module from elsewhere, whose images are not known.
    """
    facts = facts_of(clip_model)
    if not facts.mean:
        raise UserError("nothing says how this CLIP's images are made: use the transform that came with it")
    images = Images(facts.size, facts.mean, facts.std, facts.interpolation, facts.resize)
    return image_transform(images, facts.dialect == TRANSFORMERS)


def image_transform(images: Images, colours_first: bool = False) -> Callable[..., Tensor]:
    """Resize, cut out the centre, normalise; colours become RGB after that cut, as in clip.load, or first."""
    from torchvision import transforms

    size, how = images.size, transforms.InterpolationMode(images.interpolation)
    resize = transforms.Resize([size, size] if images.resize == SQUASH else size, interpolation=how)
    steps = [*([to_rgb] if colours_first else []), resize, transforms.CenterCrop(size), to_rgb, transforms.ToTensor()]
    composed: Callable[..., Tensor] = transforms.Compose([*steps, transforms.Normalize(images.mean, images.std)])
    return composed


def to_rgb(image: Any) -> Any:
    """A PIL image in RGB."""
    return image.convert("RGB")
