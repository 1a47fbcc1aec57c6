"""Alphas of a search in files: alpha_e{k}.npz, which name their side, and the reference's .npy pair, names swapped."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from modprompt.errors import UserError
from modprompt.io.arrays import read_all_arrays, read_array, write_array, write_arrays
from modprompt.io.safe_open import PathLike
from modprompt.methods.search.file import ALL, SIDES

SWAPPED = (
    "alpha_e{epoch}_txt.npy holds the image side's alphas and alpha_e{epoch}_img.npy the text side's: "
    "so the reference names them"
)
_MOST = 100_000  # tokens that an option removes or adds
_LONGEST = 1 << 10  # bytes of a place


class Alphas(NamedTuple):
    """One side's alphas after an epoch.

    values: (L, O) float32, of L layers and O options, before the softmax.
    options: (L, O, 2), (remove, add) of each; remove may be ALL.
    place: where the side's prompt tokens stand; empty if unknown.
    """

    values: np.ndarray
    options: np.ndarray
    place: str = ""


def file_name(epoch: int) -> str:
    """The file name of alphas after an epoch; 0 for those at the start."""
    return f"alpha_e{epoch}.npz"


def write(folder: PathLike, epoch: int, sides: Mapping[str, Alphas]) -> Path:
    """Write alpha_e{epoch}.npz whole: "text", "vision" or both. Returns its path."""
    path = Path(folder) / file_name(epoch)
    arrays: dict[str, Any] = {}
    for side, alphas in sides.items():
        checked = _checked(path, side, alphas.values, alphas.options)
        arrays[side], arrays[f"{side}_options"] = checked.values, checked.options
        arrays[f"{side}_place"] = np.array(alphas.place)
    write_arrays(path, **arrays)
    return path


def read(path: PathLike) -> dict[str, Alphas]:
    """The sides in an alpha_e{k}.npz.

    Raises:
        FileNotFoundError: if there is no such file.
        UserError: if it is damaged or holds no alphas.
    """
    arrays = read_all_arrays(path)
    sides = [side for side in SIDES if side in arrays]
    if not sides:
        raise UserError(f"{path} holds neither text nor vision alphas: give an alpha_e{{k}}.npz of a search")
    for side in sides:
        if f"{side}_options" not in arrays:
            raise UserError(f"{path} lacks {side}_options: give an alpha_e{{k}}.npz of a search")
    checked = {side: _checked(path, side, arrays[side], arrays[f"{side}_options"]) for side in sides}
    return {side: one._replace(place=_place(path, side, arrays)) for side, one in checked.items()}


def _place(path: PathLike, side: str, arrays: Mapping[str, np.ndarray]) -> str:
    place = arrays.get(f"{side}_place", np.array(""))
    if place.ndim or place.dtype.kind != "U" or place.dtype.itemsize > _LONGEST or not str(place).isprintable():
        raise UserError(f"{path}: {side}_place is not a text: give an alpha_e{{k}}.npz of a search")
    return str(place)


def write_pair(folder: PathLike, epoch: int, text: np.ndarray, vision: np.ndarray) -> tuple[Path, Path]:
    """Write the reference's two files under its swapped names (see SWAPPED). Returns their paths.

    Args:
        folder: where.
        epoch: the epoch that has ended.
        text: (L, 1 + C) alphas of the text side: for alpha_e{epoch}_img.npy.
        vision: the same of the vision side: for alpha_e{epoch}_txt.npy.
    """
    paths = []
    for name, values in (("img", text), ("txt", vision)):
        path = Path(folder) / f"alpha_e{epoch}_{name}.npy"
        write_array(path, _table(path, "alphas", values))
        paths.append(path)
    return paths[0], paths[1]


def read_bare(path: PathLike) -> np.ndarray:
    """The alphas (L, 1 + C) in one of the reference's .npy files: column c means c prompt tokens. It names no side.

    Raises:
        FileNotFoundError: if there is no such file.
        UserError: if it is damaged or holds no alphas.
    """
    return _table(path, "alphas", read_array(path))


def lengths_of(values: np.ndarray) -> tuple[int, ...]:
    """Prompt tokens of each layer, by the largest of its alphas (L, 1 + C), column c for c tokens; first of equals."""
    return tuple(int(column) for column in np.argmax(values, axis=1))


def are_lengths(options: np.ndarray) -> bool:
    """Whether option c of every layer means c tokens, all earlier ones removed; layer 0 has none to remove."""
    removed, added = options[..., 0], options[..., 1]
    all_go = bool(np.all(removed[1:] == ALL)) and bool(np.all((removed[:1] == ALL) | (removed[:1] == 0)))
    return all_go and bool(np.all(added == np.arange(options.shape[1])))


def margins(values: Sequence[Sequence[float]], chosen: Sequence[int]) -> tuple[float, ...]:
    """For each layer the weight of the chosen option minus that of the best other; below 0 if the other is larger.

    Args:
        values: for L layers, each option's alpha or the logarithm of its weight.
        chosen: the option of each layer.
    """
    found = []
    for row, option in zip(values, chosen):
        weights = np.exp(np.asarray(row, np.float64) - np.max(row))
        weights /= weights.sum()
        found.append(float(weights[option] - np.delete(weights, option).max(initial=0.0)))
    return tuple(found)


def _checked(path: PathLike, side: str, values: np.ndarray, options: np.ndarray) -> Alphas:
    table = _table(path, f"{side} alphas", values)
    whole = options.shape == (*table.shape, 2) and options.dtype.kind in "iu"
    least = (ALL, 0)
    if not whole or any((options[..., at] < least[at]).any() or (options[..., at] > _MOST).any() for at in (0, 1)):
        raise UserError(f"{path}: {side}_options are not (remove, add) pairs for {table.shape} alphas")
    return Alphas(table, options.astype(np.int64))


def _table(path: PathLike, what: str, values: np.ndarray) -> np.ndarray:
    """An array as float32, if it has a row of finite numbers for each layer."""
    if values.ndim != 2 or not values.size or values.dtype.kind != "f":
        raise UserError(
            f"{path}: {what} must be an array of numbers, layers x options, got {values.dtype} of shape {values.shape}"
        )
    with np.errstate(over="ignore"):
        single = values.astype(np.float32)
    if not np.isfinite(single).all():
        raise UserError(f"{path}: {what} are not all finite: the search went wrong; lower its ALPHA_LR")
    return single
