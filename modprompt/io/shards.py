"""Weights in several files next to an index, which says in JSON which tensor is in which file.

{"metadata": {...}, "weight_map": {tensor's name: file's name}}, as in model.safetensors.index.json and
pytorch_model.bin.index.json. A name that leads elsewhere is refused, and index and files must agree in full.
"""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modprompt.errors import UserError
from modprompt.io import json_text
from modprompt.io.safe_open import Refused, read_text
from modprompt.io.safetensors_files import refuse_pointer

if TYPE_CHECKING:
    from torch import Tensor

_ENDINGS = (".safetensors", ".bin")


def shard_names(index: Path) -> list[str]:
    """Names of the files that an index names, sorted, each once; whether they exist is not checked.

    Raises:
        UserError: if the index is missing, larger than 64 MB, not such an index, or names no plain file next to it.
    """
    return sorted(set(_weight_map(index).values()))


def read_shards(index: Path, read: "Callable[[Path], Mapping[str, Tensor]]") -> "dict[str, Tensor]":
    """The tensors of all files that an index names, in the index's order.

    Args:
        index: the index; the files are next to it.
        read: gives the tensors of one file by name.

    Raises:
        UserError: as `shard_names`; if a file is missing; if one lacks a tensor that the index has in it, or has
            another; or as `read`.
    """
    places = _weight_map(index)
    names = sorted(set(places.values()))
    for name in names:  # all of them before the first is read, which can take minutes
        if not os.path.exists(index.parent / name):
            raise UserError(f"{name} is missing next to {index}: download it too")
    found: dict[str, Tensor] = {}
    for name in names:
        tensors = read(index.parent / name)
        _compare(tensors, name, places, index)
        found.update(tensors)
    return {tensor: found[tensor] for tensor in places}


def _compare(tensors: "Mapping[str, Tensor]", name: str, places: dict[str, str], index: Path) -> None:
    """Raise UserError unless a file has the tensors that the index has in it, and no others."""
    lacking = next((tensor for tensor, place in places.items() if place == name and tensor not in tensors), None)
    if lacking is not None:
        raise UserError(f"{index.parent / name} has no {lacking[:80]!r}, which {index} says is in it")
    for tensor in tensors:
        if tensor not in places:
            raise UserError(f"{index.parent / name} has {str(tensor)[:80]!r}, which {index} does not name")
        if places[tensor] != name:
            raise UserError(f"{index.parent / name} has {tensor[:80]!r}, which {index} says is in {places[tensor]}")


def _weight_map(index: Path) -> dict[str, str]:
    try:
        text = read_text(index)
    except FileNotFoundError:
        raise UserError(f"no file at {index}") from None
    refuse_pointer(text, index)
    try:
        content = json_text.parse(text, _once)
    except Refused as error:
        raise UserError(f"{index} is damaged or no index of weights ({error})") from None
    places = content.get("weight_map") if isinstance(content, dict) else None
    if not isinstance(places, dict) or not places:
        raise UserError(f'{index} is not an index of weights: it has no "weight_map" of tensors and their files')
    odd = [name for name in places.values() if not _is_plain(name)]
    if odd:
        raise UserError(
            f"{index} names {str(odd[0])[:80]!r}, which is not the name of a .safetensors or .bin file next to it"
        )
    return places


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise Refused(f"it names {name[:80]!r} twice")
        found[name] = value
    return found


def _is_plain(name: Any) -> bool:
    """Whether something is the name of a file of weights, and leads nowhere else on any system."""
    if not isinstance(name, str) or not name.isprintable() or name.startswith(".") or not name.endswith(_ENDINGS):
        return False
    return ".." not in name and not set(name) & set("/\\:")
