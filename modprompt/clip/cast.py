"""Casting the weight matrices of a CLIP model, and keeping a copy of its exact weights."""

import copy
import warnings
import weakref
from collections.abc import Iterator, MutableMapping
from typing import Any, cast

import torch
from torch import Tensor, nn

from modprompt.clip.towers import CLIP, Tower

_ROUNDED = "modprompt_rounded"  # a CLIP's attribute: the type to which its matrices were rounded
_COPIES: MutableMapping[nn.Module, Any] = weakref.WeakKeyDictionary()  # weak references to exact copies, by CLIP


def _matrices(clip_model: nn.Module) -> Iterator[Tensor]:
    in_towers = {part for tower in _towers(clip_model) for part in tower.modules()}
    for module in clip_model.modules():
        if module not in in_towers:
            whole = isinstance(module, (nn.Linear, nn.Conv1d, nn.Conv2d)) or hasattr(module, "in_proj_weight")
            own = module.named_parameters(recurse=False)
            yield from (one for name, one in own if whole or name in ("text_projection", "proj"))


def _towers(clip_model: nn.Module) -> list[Tower]:
    return [part for part in clip_model.modules() if isinstance(part, Tower)]


def cast_products(clip_model: nn.Module, dtype: torch.dtype) -> bool:
    """Cast the weight matrices of a CLIP model in place, but not its normalisations and embeddings.

    The weights of towers of other packages stay in float32; only the type of their matrix products changes.

    Returns:
        True if the cast did not round any value.
    """
    exact = True
    for tower in _towers(clip_model):
        tower.products = None if dtype == torch.float32 else dtype
    for tensor in _matrices(clip_model):
        if tensor.dtype != dtype:
            short = tensor.data.to(dtype)
            exact = exact and (short.is_meta or torch.equal(short.to(tensor.dtype), tensor.data))
            tensor.data = short
    return exact


def note_rounding(clip_model: nn.Module, dtype: torch.dtype) -> None:
    """Record that a cast has rounded the weights of a CLIP model, which no further cast can undo."""
    clip_model.__dict__[_ROUNDED] = str(dtype).replace("torch.", "")


def rounded_to(clip_model: nn.Module) -> str:
    """Return the type to which the weights of a CLIP model were rounded, or "" if they were not rounded."""
    return str(clip_model.__dict__.get(_ROUNDED, ""))


def _float_copy(clip_model: CLIP) -> CLIP:
    """Return a copy in float32, whose matrix products are in float32, too."""
    copied = copy.deepcopy(clip_model)
    for tower in _towers(copied):
        tower.products = None
    return copied.float()


def exact_copy(clip_model: CLIP) -> CLIP | None:
    """Return a float32 copy of a CLIP model on the CPU, which all callers share, or None if the weights are rounded."""
    held = _COPIES[clip_model]() if clip_model in _COPIES else None
    if held is None and not rounded_to(clip_model):
        held = _float_copy(clip_model).cpu()
        _COPIES[clip_model] = weakref.ref(held)
    return cast(CLIP | None, held)


def moved(clip_model: CLIP, device: torch.device) -> CLIP:
    """Return a CLIP model if it is on the CPU already, else a copy on the requested device."""
    return clip_model if device.type == "cpu" else copy.deepcopy(clip_model).to(device)


def exact(clip_model: CLIP) -> CLIP:
    """Return a CLIP model in float32 with its original weights; warn if a cast has rounded them."""
    rounded = rounded_to(clip_model)
    if clip_model.dtype == torch.float32 and not rounded:
        return clip_model
    found = exact_copy(clip_model)
    if found is not None:
        return moved(found, clip_model.logit_scale.device)
    warnings.warn(
        "The frozen class features are less precise than usual, because the weights of this CLIP model were already "
        f"rounded to {rounded}. Call .with_classes before you compute the first loss, or load a separate copy of the "
        "CLIP model for each model.",
        stacklevel=3,
    )
    return _float_copy(clip_model)
