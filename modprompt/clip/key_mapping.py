"""Names of tensors in files, mapped to OpenAI's: open_clip's own and `custom_text`, and transformers'.

A model that is not a CLIP of the stock shape is recognised by its names, and refused by name (docs/backbones.md).
"""

import re
from collections.abc import Iterable, Mapping, MutableMapping
from typing import Any

import torch
from torch import Tensor

from modprompt.clip.design import refused
from modprompt.errors import UserError

OPENAI, CUSTOM_TEXT, TRANSFORMERS = "openai", "custom_text", "transformers"
_SIGNS = {OPENAI: "positional_embedding", CUSTOM_TEXT: "text.positional_embedding", TRANSFORMERS: "text_model."}
BOOKKEEPING = ("input_resolution", "context_length", "vocab_size")  # numbers that OpenAI's files have besides weights
_DERIVED = (".attn_mask", "attn_mask", ".position_ids")  # each model computes its own
_FAMILIES = (  # a name that only this family has
    ("siglip", re.compile(r"^logit_bias$|^vision_model\.head\.(probe|attention)|attn_pool\.(latent|probe)$")),
    ("coca", re.compile(r"^text_decoder\.|^visual\.attn_pool\.query$|^text\.cls_emb$")),
    ("eva", re.compile(r"^visual\.(blocks\.\d|rope\.|trunk\.rope)|^visual\.trunk\.blocks\.\d+\.attn\.q_bias")),
    ("timm", re.compile(r"^visual\.trunk\.|^image_encoder\.")),
    (
        "bert_text",
        re.compile(r"^text\.transformer\.(embeddings|encoder|shared)|^text_model\.embeddings\.word_embeddings"),
    ),
)

_HF_OUTER = {
    "text_model.embeddings.token_embedding.weight": "token_embedding.weight",
    "text_model.embeddings.position_embedding.weight": "positional_embedding",
    "text_model.final_layer_norm.weight": "ln_final.weight",
    "text_model.final_layer_norm.bias": "ln_final.bias",
    "text_projection.weight": "text_projection",
    "vision_model.embeddings.class_embedding": "visual.class_embedding",
    "vision_model.embeddings.patch_embedding.weight": "visual.conv1.weight",
    "vision_model.embeddings.position_embedding.weight": "visual.positional_embedding",
    "vision_model.pre_layrnorm.weight": "visual.ln_pre.weight",
    "vision_model.pre_layrnorm.bias": "visual.ln_pre.bias",
    "vision_model.post_layernorm.weight": "visual.ln_post.weight",
    "vision_model.post_layernorm.bias": "visual.ln_post.bias",
    "visual_projection.weight": "visual.proj",
    "logit_scale": "logit_scale",
}
_TRANSPOSED, _HF_TRANSPOSED = "transposed", ("text_projection.weight", "visual_projection.weight")
_HF_LAYER = re.compile(r"^(text_model|vision_model)\.encoder\.layers\.(\d+)\.(.+)\.(weight|bias)$")
_HF_PARTS = {
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
    "self_attn.out_proj": "attn.out_proj",
}
_HF_JOINED = tuple(f"self_attn.{one}_proj" for one in "qkv")  # in this order


def plain_names(content: Any) -> dict[str, Any]:
    """The tensors of a saved file by name: without wrappers, and without what each model computes itself."""
    found = content.get("state_dict", content) if isinstance(content, Mapping) else {}
    state = dict(found) if isinstance(found, Mapping) else {}
    if state and all(str(key).startswith("module.") for key in state):  # DataParallel's
        state = {str(key)[len("module.") :]: value for key, value in state.items()}
    return {
        str(key): value
        for key, value in state.items()
        if str(key) not in BOOKKEEPING and not str(key).endswith(_DERIVED)
    }


def recognise(names: Iterable[str], where: str) -> str:
    """The dialect of a state dict: openai (open_clip's, too), custom_text or transformers.

    Raises:
        UserError: if it is another kind of model, with its name if that is known.
    """
    there = list(names)
    for family, sign in _FAMILIES:
        found = next((name for name in there if sign.search(name)), None)
        if found is not None:
            raise refused(where, family, f"it has {found}")
    if any(name.startswith(_SIGNS[TRANSFORMERS]) for name in there):
        return TRANSFORMERS
    for dialect in (OPENAI, CUSTOM_TEXT):
        if _SIGNS[dialect] in there:
            return dialect
    raise UserError(f"{where} is not the state dict of a CLIP: it has no {_SIGNS[OPENAI]}{_near(there)}")


def _near(names: list[str]) -> str:
    return f" (but e.g. {names[0]})" if names else " (nor any other tensor)"


def to_openai(state: MutableMapping[str, Tensor], dialect: str, where: str) -> dict[str, Tensor]:
    """The state dict under OpenAI's names; `state` is emptied, so that no tensor is held twice.

    Raises:
        UserError: on a name that the dialect does not have, or a missing part.
    """
    renamed: dict[str, Tensor] = {}
    joined: dict[str, dict[str, Tensor]] = {}  # by OpenAI's name: query, key, value
    for name in list(state):
        tensor = state.pop(name)
        new, part = _openai_name(name, dialect, where)
        if new in renamed:
            raise UserError(f"{where} has two tensors {new}, one of them as text.{new}")
        if part in _HF_JOINED:
            parts = joined.setdefault(new, {})
            parts[part] = tensor
            if len(parts) < len(_HF_JOINED):
                continue
            tensor = _one_of_three([parts[one] for one in _HF_JOINED], f"{where}: {new}")
            del joined[new]
        renamed[new] = tensor.t().contiguous() if part == _TRANSPOSED and tensor.dim() == 2 else tensor
    if joined:
        new, parts = next(iter(joined.items()))
        lacking = next(one for one in _HF_JOINED if one not in parts)
        raise UserError(f"{where} is not a whole CLIP: {lacking} of {new} is missing")
    scale = renamed.get("logit_scale")
    if scale is not None and scale.numel() == 1:
        renamed["logit_scale"] = scale.reshape(())  # in some of open_clip's it is a vector of one
    return renamed


def _one_of_three(parts: list[Tensor], where: str) -> Tensor:
    """Query, key and value, stacked."""
    shapes = [tuple(part.shape) for part in parts]
    if len(set(shapes)) > 1 or not shapes[0]:
        raise UserError(f"{where} cannot be joined: query, key and value have the shapes {', '.join(map(str, shapes))}")
    return torch.cat(parts)


def _openai_name(name: str, dialect: str, where: str) -> tuple[str, str]:
    """OpenAI's name of a tensor, and which part of that it is: query, key or value, its transpose, or all of it."""
    if dialect != TRANSFORMERS:
        return (name[len("text.") :] if dialect == CUSTOM_TEXT and name.startswith("text.") else name), ""
    if name in _HF_OUTER:
        return _HF_OUTER[name], _TRANSPOSED if name in _HF_TRANSPOSED else ""
    match = _HF_LAYER.match(name)
    if match:
        side = "transformer" if match.group(1) == "text_model" else "visual.transformer"
        part, kind = match.group(3), match.group(4)
        front = f"{side}.resblocks.{match.group(2)}."
        if part in _HF_PARTS:
            return f"{front}{_HF_PARTS[part]}.{kind}", ""
        if part in _HF_JOINED:
            return f"{front}attn.in_proj_{kind}", part
    raise UserError(f"{where} has a tensor that no CLIP of transformers has: {name}")
