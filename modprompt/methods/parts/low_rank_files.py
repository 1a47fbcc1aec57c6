"""Files of CLIP-LoRA's repository (lora_weights.pt): where they have our matrices."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from modprompt.errors import UserError
from modprompt.methods.parts.low_rank import POSITIONS, SIDES, LowRankSettings

_NAMES = {"q": "q_proj", "k": "k_proj", "v": "v_proj", "o": "proj"}


class Place(NamedTuple):
    """Where a matrix's addition is among the parameters: `{side}.{layer}`, and the number of the matrix there."""

    prefix: str
    number: int


def _places(settings: LowRankSettings, layers: Mapping[str, Sequence[int]]) -> dict[str, dict[str, Place]]:
    """Places by the names in its files, layers in their order: text first."""
    chosen = [f"{side}.{layer}" for side in SIDES for layer in layers.get(side, ())]
    return {
        f"layer_{j}": {_NAMES[which]: Place(prefix, n) for n, which in enumerate(settings.matrices)}
        for j, prefix in enumerate(chosen)
    }


def _metadata(settings: LowRankSettings) -> dict[str, object]:
    alpha = int(settings.alpha) if settings.alpha == int(settings.alpha) else settings.alpha
    return {
        "r": settings.r,
        "alpha": alpha,
        "encoder": settings.encoder,
        "params": list(settings.matrices),
        "position": settings.position,
    }


def _require_known(settings: LowRankSettings, layers: Mapping[str, Sequence[int]]) -> None:
    """Raise UserError unless its program knows these words for layers (of twelve, for the top), and this ALPHA."""
    images = layers.get("vision", ())
    thirds = settings.position in ("bottom", "mid", "up") and len(images) not in (0, 4)
    top = settings.position == "top3" and bool(images) and images[-1] != 11
    if settings.position not in POSITIONS or thirds or top:
        raise UserError(
            f"CLIP-LoRA's program has no POSITION {settings.position!r} for these layers, and reads no such file"
        )
    if settings.alpha != int(settings.alpha):
        raise UserError(f"CLIP-LoRA's program accepts only whole numbers of ALPHA, but this is {settings.alpha:g}")


def as_repository(
    state: Mapping[str, Tensor], settings: LowRankSettings, layers: Mapping[str, Sequence[int]]
) -> dict[str, object]:
    """The content of the reference's file for these additions; `state` has our names.

    Raises:
        UserError: if its program lacks such a position on that CLIP, or such an ALPHA.
    """
    _require_known(settings, layers)
    weights = {
        layer: {
            name: {
                f"w_lora_{one.upper()}": state[f"{place.prefix}.{one}"][place.number].detach().cpu().clone()
                for one in ("a", "b")
            }
            for name, place in matrices.items()
        }
        for layer, matrices in _places(settings, layers).items()
    }
    return {"weights": weights, "metadata": _metadata(settings)}


def of_repository(
    content: Mapping[str, object], settings: LowRankSettings, layers: Mapping[str, Sequence[int]], path: str
) -> dict[str, Tensor] | None:
    """The parameters, under our names, from the content of a reference's file; None for a file of another form.

    Raises:
        UserError: if its metadata has other settings, or a matrix is missing.
    """
    weights, theirs = content.get("weights"), content.get("metadata")
    if not isinstance(weights, dict) or not isinstance(theirs, dict):
        return None
    for name, mine in _metadata(settings).items():
        there = theirs.get(name)
        same = isinstance(there, (int, float, str, list)) and there == mine
        if not same:
            raise UserError(f"{path} was made with other settings: {name} is {mine} here and {ascii(there)[:40]} there")
    places = _places(settings, layers)
    if set(weights) != set(places):
        raise UserError(f"{path} has additions to {len(weights)} layers, but this model has {len(places)}")
    found: dict[str, dict[int, Tensor]] = {}
    for layer, matrices in places.items():
        for name, place in matrices.items():
            for one in ("a", "b"):
                found.setdefault(f"{place.prefix}.{one}", {})[place.number] = _matrix(
                    weights[layer], name, f"w_lora_{one.upper()}", path
                )
    return {name: _stacked([each[n] for n in sorted(each)], name, path) for name, each in found.items()}


def _matrix(layer: object, name: str, key: str, path: str) -> Tensor:
    of_name = layer.get(name) if isinstance(layer, dict) else None
    found = of_name.get(key) if isinstance(of_name, dict) else None
    if not isinstance(found, Tensor) or found.dim() != 2 or found.layout != torch.strided or found.is_quantized:
        raise UserError(f"{path} is damaged (it has no matrix {name}.{key}): use another copy of it")
    return found


def _stacked(each: Sequence[Tensor], name: str, path: str) -> Tensor:
    if len({one.shape for one in each}) > 1:
        raise UserError(f"{path} is damaged (the matrices of {name} are of different shapes): use another copy of it")
    return torch.stack([one.detach().float() for one in each])
