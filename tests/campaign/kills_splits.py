"""Kills of readers that make a split, few-shot lists or a listing, at every change, for every data set that makes some."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from modprompt.data.readers.digits import Digits
from tests.campaign import kills
from tests.campaign.figures import Figure, joined
from tests.modprompt.data import trees
from tests.modprompt.data.test_readers import facts, read, sorted_listing

ORDER = ((2, 4), (1, 2), (2, 1))  # seed, shots
DIGITS = 40
SOME = 0.1  # below that share not all readers are tried


def sort_listings() -> None:
    """From here on folders are listed in one order, on whatever disk."""
    for module in ("splits", "images"):
        vars(sys.modules[f"modprompt.data.{module}"]).update(listdir_nohidden=sorted_listing)


def make(reader: str, root: Path) -> str:
    """A tree of a reader; its name in Dassl."""
    root.mkdir()
    if reader == "image_folder":
        trees.pictures(root, {"cat": 13, "dog": 9, "owl": 7})
        return "ImageFolder"
    if reader == "digits":
        return "Digits"
    make, name, *_ = trees.DATA_SETS[reader]
    make(root)
    return name


def few_digits() -> None:
    """From here on Digits has so few that every change of theirs can be tried."""
    Digits.arrays = staticmethod(_few)  # type: ignore[method-assign]


def _few() -> tuple[np.ndarray, list[int]]:
    return np.arange(DIGITS * 64, dtype=np.uint8).reshape(DIGITS, 8, 8), [number % 10 for number in range(DIGITS)]


def _lists(name: str, root: Path, seed: int, shots: int) -> list[Any]:
    dataset = read(name, root, shots, seed=seed)
    return [facts(items, root) for items in (dataset.train_x, dataset.val, dataset.test)]


def reading(name: str, order: tuple[tuple[int, int], ...] = ORDER) -> Callable[[Path], None]:
    """The work of reading a data set, for some seeds and shots."""

    def run(root: Path) -> None:
        with kills.silent():
            for seed, shots in order:
                _lists(name, root, seed, shots)

    return run


def facts_of_reading(name: str) -> Callable[[Path], dict[str, Any]]:
    """What is read then, and all files that are there."""

    def found(root: Path) -> dict[str, Any]:
        files = {str(path.relative_to(root)) for path in root.rglob("*")}
        with kills.silent():
            return {"files": files, **{str(run): _lists(name, root, *run) for run in ORDER}}

    return found


def _killed(reader: str, scratch: Path, seed: int, share: float) -> list[Figure]:
    """A reader killed, and read again in either order."""
    name = make(reader, scratch / reader)
    work = kills.Work(f"{reader}: split and lists", scratch / reader, reading(name), facts_of_reading(name))
    other = work._replace(again=reading(name, ORDER[::-1]))
    if kills.undisturbed(work, scratch)[0] == 0:
        return []  # it makes none
    return [kills.killed(one, scratch, seed, share) for one in (work, other)]


def run(scratch: Path, seed: int, share: float) -> list[Figure]:
    """All readers as one figure."""
    sort_listings()
    few_digits()
    readers = ["image_folder", "digits", *trees.DATA_SETS]
    if share < SOME:
        readers = random.Random(seed).sample(readers, max(2, round(share / SOME * len(readers))))
    figures = [figure for reader in readers for figure in _killed(reader, scratch, seed, share)]
    return [joined(figures, "kills of making splits, few-shot lists and listings")]
