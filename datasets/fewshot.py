"""Few-shot sampling with Python's random, and a cache of what was drawn.

One cache file serves all, base and new, so that the runs of one seed share their images. It names images relative to
the image folder and is ignored, with a line that says so, if the split has changed since.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
from pathlib import Path
from typing import NamedTuple

from modprompt.files import write_json

VAL_SHOTS = 4  # at most, per class


class FewShot(NamedTuple):
    """Few-shot training and validation lists."""

    train: list
    val: list


def sample(items: list, shots: int) -> list:
    """`shots` random items of each label, labels in order of first appearance.

    A label with fewer items is taken whole, without a draw.
    """
    groups: dict[int, list] = {}
    for item in items:
        groups.setdefault(item.label, []).append(item)
    chosen = []
    for group in groups.values():
        chosen += random.sample(group, shots) if len(group) >= shots else group
    return chosen


def _relative(item, image_dir: Path) -> str:
    return os.path.relpath(item.impath, image_dir).replace(os.sep, "/")


def fingerprint(lists: list[list], image_dir: Path) -> str:
    """SHA-256 (hex) of the paths and labels that can be drawn, in order."""
    digest = hashlib.sha256()
    for items in lists:
        for item in items:
            digest.update(f"{_relative(item, image_dir)}\t{item.label}\n".encode())
        digest.update(b"\n")
    return digest.hexdigest()


def _read_cache(path: Path, key: str, train: list, val: list, image_dir: Path) -> FewShot | None:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError):
        content = {}
    if not isinstance(content, dict) or content.get("split") != key:
        print(f"{path} does not belong to the present split: drawing anew")
        return None
    by_path = [{_relative(item, image_dir): item for item in items} for items in (train, val)]
    return FewShot(*([index[name] for name in content[part]] for part, index in zip(("train", "val"), by_path)))


def few_shot(train: list, val: list, *, shots: int, seed: int, cache_dir: Path, image_dir: Path) -> FewShot:
    """The few-shot lists of a seed: from the cache, else drawn (train first, then val) and cached.

    Args:
        train: training items; `shots` of each class are drawn.
        val: validation items; min(shots, 4) of each class are drawn.
        shots: images per class, at least 1.
        seed: the run's seed; part of the file name only, the generator is seeded elsewhere.
        cache_dir: folder of the cache files.
        image_dir: what image paths are relative to.
    """
    key = fingerprint([train, val], image_dir)
    path = cache_dir / f"shot_{shots}-seed_{seed}.json"
    cached = _read_cache(path, key, train, val, image_dir)
    if cached is not None:
        print(f"Loading the few-shot lists of {path}")
        return cached
    drawn = FewShot(sample(train, shots), sample(val, min(shots, VAL_SHOTS)))
    names = {part: [_relative(item, image_dir) for item in items] for part, items in drawn._asdict().items()}
    write_json(path, {"split": key, **names})
    return drawn
