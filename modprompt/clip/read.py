"""Reading the tensors of a CLIP model from files, under the names of OpenAI or open_clip."""

import re
from collections.abc import Mapping, MutableMapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from modprompt.clip import lookup, open_clips
from modprompt.clip.build import BOOKKEEPING
from modprompt.clip.resolve import INDEX, find
from modprompt.clip.spec import EMBEDDED_FILE, TRANSFORMERS, ClipSpec, Shape
from modprompt.errors import UserError
from modprompt.io.arrays import read_arrays
from modprompt.io.tensors import read_safetensors, read_shards, read_tensors

_DERIVED = (".attn_mask", "attn_mask", ".position_ids")  # each model computes its own
_TYPES = (torch.float32, torch.float16, torch.bfloat16)


def shape_of(state: Mapping[str, Tensor], where: str) -> Shape:
    """Return the sizes that the tensors of a CLIP of OpenAI's design show; UserError if they make up none."""
    try:
        stem, projection = state["visual.conv1.weight"], state["text_projection"]
        is_resnet = "visual.attnpool.positional_embedding" in state
        widths = projection.shape[0], len(stem) * 2 if is_resnet else len(stem)  # a ResNet's stem is half as wide
        layers = _layers(state, "transformer"), _layers(state, "visual.transformer")
        patch = 0 if is_resnet else stem.shape[-1]
        return Shape(_pixels(state, where), patch, layers, widths, projection.shape[1])
    except (KeyError, IndexError) as error:
        raise UserError(
            f"{where}: these weights do not form a CLIP model of OpenAI's architecture (the tensor {error} is missing "
            "or damaged). Download the weights again."
        ) from None


def require_shape(asked: ClipSpec, name: str, shape: Shape) -> None:
    """Raise UserError unless the tensors of a file have the sizes of a registered CLIP."""
    found = find(asked)
    odd = shape_of(read_state(found), found.called).differences(shape)
    if odd:
        raise UserError(
            f"{found.called} does not have the architecture of --backbone {name}: its tensors have {'; '.join(odd)}. "
            "Set --backbone to the CLIP model from which the weights come."
        )


def read_state(found: ClipSpec) -> dict[str, Tensor]:
    """Read the tensors of a CLIP model under the names of OpenAI or open_clip.

    Prefixes of wrappers, and tensors that models compute themselves, are removed.

    Raises:
        UserError: if the file does not contain a state dict.
    """
    if found.weights == EMBEDDED_FILE:
        return read_embedded()
    where, code = found.called, found.sha256
    content = read_tensors(found.weights, (code,)) if code else _content(found.weights)
    content = content.get("state_dict", content) if isinstance(content, Mapping) else None
    if not isinstance(content, Mapping):
        raise UserError(
            f"{where} is not the state dict of a CLIP model, because the file contains no named tensors. Check the "
            "path."
        )
    cut = len("module.") * all(str(name).startswith("module.") for name in content)  # DataParallel's
    state: dict[str, Tensor] = {str(name)[cut:]: value for name, value in content.items()}
    del content
    for name, value in list(state.items()):  # one after the other: both forms of all would need too much memory
        if name in BOOKKEEPING or name.endswith(_DERIVED):
            del state[name]
            continue
        plain = isinstance(value, Tensor) and value.layout == torch.strided
        if not (plain and (value.dtype in _TYPES or name.endswith(".num_batches_tracked"))):
            raise UserError(
                f"{where} is not the state dict of a CLIP model, because {name} is not a dense tensor of a supported "
                "type. Check the path."
            )
        if value.dtype == torch.bfloat16:
            state[name] = value.float()
        if name in ("logit_scale", "logit_bias") and value.numel() == 1:
            state[name] = state[name].reshape(())  # in some of open_clip's it is a vector of one
    if found.dialect == TRANSFORMERS:
        return to_openai(state, where)
    if not found.config or open_clips.is_stock(found.config):  # open_clip's custom_text
        return {name.removeprefix("text."): value for name, value in state.items()}
    return state


def _content(path: Path) -> Any:
    if path.name.endswith(INDEX):
        return read_shards(path, _content)
    if path.suffix == ".json":
        raise UserError(
            f"{path} is a config file, not a weights file. Set the path to the weights file, or to the folder that "
            "contains the config and the weights."
        )
    return read_safetensors(path)[0] if path.suffix == ".safetensors" else read_tensors(path)


def read_embedded() -> dict[str, Tensor]:
    """Return the state dict of the bundled model; words that its training did not use have zero embeddings."""
    try:
        arrays = {name: torch.from_numpy(array) for name, array in read_arrays(EMBEDDED_FILE).items()}
        rows, size = arrays.pop("token_embedding.rows"), int(arrays.pop("token_embedding.size"))
        table = rows.new_zeros(size, rows.shape[1])
        table[arrays.pop("token_embedding.ids").long()] = rows
    except Exception:
        raise UserError(
            f"The bundled model {EMBEDDED_FILE} is missing or damaged. Install modprompt again, or restore the "
            "file with git."
        ) from None
    return {**arrays, "token_embedding.weight": table}


def sizes_of_tensors(asked: ClipSpec) -> tuple[int, tuple[int, int]]:
    return _sizes(asked, lookup.state_of_files(asked))


@lru_cache(maxsize=8)
def _sizes(asked: ClipSpec, looks: str) -> tuple[int, tuple[int, int]]:
    """Return the image size and the numbers of layers that the tensors show; cached until the file changes."""
    found = find(asked)
    state = read_state(found)
    return _pixels(state, found.called), (_layers(state, "transformer"), _layers(state, "visual.transformer"))


def _layers(state: Mapping[str, Tensor], side: str) -> int:
    start = f"{side}.resblocks."
    return len({name.removeprefix(start).partition(".")[0] for name in state if name.startswith(start)})


def _pixels(state: Mapping[str, Tensor], where: str) -> int:
    """Return the side length of images in pixels that tensors with the names of OpenAI show."""
    try:
        if "visual.attnpool.positional_embedding" in state:
            places, patch = len(state["visual.attnpool.positional_embedding"]), 32
        else:
            places, patch = len(state["visual.positional_embedding"]), state["visual.conv1.weight"].shape[-1]
    except KeyError as error:
        raise UserError(
            f"{where}: these weights do not form a CLIP model, because the tensor {error} is missing. Check whether "
            "the file is complete."
        ) from None
    return int(round((places - 1) ** 0.5)) * patch


_RENAMED = (  # in this order
    ("text_model.encoder.layers.", "transformer.resblocks."),
    ("vision_model.encoder.layers.", "visual.transformer.resblocks."),
    ("text_model.embeddings.token_embedding.", "token_embedding."),
    ("text_model.embeddings.position_embedding.weight", "positional_embedding"),
    ("text_model.final_layer_norm.", "ln_final."),
    ("text_projection.weight", "text_projection"),
    ("vision_model.embeddings.class_embedding", "visual.class_embedding"),
    ("vision_model.embeddings.patch_embedding.", "visual.conv1."),
    ("vision_model.embeddings.position_embedding.weight", "visual.positional_embedding"),
    ("vision_model.pre_layrnorm.", "visual.ln_pre."),
    ("vision_model.post_layernorm.", "visual.ln_post."),
    ("visual_projection.weight", "visual.proj"),
    (".layer_norm", ".ln_"),
    (".mlp.fc1.", ".mlp.c_fc."),
    (".mlp.fc2.", ".mlp.c_proj."),
    (".self_attn.", ".attn."),
)
_JOINED = re.compile(r"(.+\.attn\.)([qkv])_proj\.(weight|bias)")


def to_openai(state: MutableMapping[str, Tensor], where: str) -> dict[str, Tensor]:
    """Convert tensors with the names of transformers to the names of OpenAI; `state` is emptied to save memory.

    Raises:
        UserError: if the weights of a query, key or value are missing.
    """
    found: dict[str, Tensor] = {}
    for old in list(state):
        name, tensor = old, state.pop(old)
        for theirs, ours in _RENAMED:
            name = name.replace(theirs, ours)
        found[name] = tensor.t().contiguous() if old.endswith("_projection.weight") else tensor
    for name in [one for one in found if _JOINED.fullmatch(one)]:
        front, _, kind = _JOINED.fullmatch(name).groups()  # type: ignore[union-attr]
        parts = [f"{front}{one}_proj.{kind}" for one in "qkv"]
        if name == parts[0]:
            try:
                found[f"{front}in_proj_{kind}"] = torch.cat([found.pop(one) for one in parts])
            except (KeyError, RuntimeError):
                raise UserError(
                    f"{where} is not a complete CLIP model, because the query, key or value weights of {front[:-1]} "
                    "are missing or differ in shape. Download the weights again."
                ) from None
    return found
