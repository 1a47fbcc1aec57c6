"""Few-shot sampling with Python's random, and a cache of what was drawn.

One cache file serves all, base and new classes, so that the runs of one seed share their images. It names images
relative to the image folder, has a hash of its content, and is used only while the split it was drawn from is the same.
The family's own pickles are read too.
"""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from modprompt.data.family_pickle import read_family_pickle
from modprompt.data.images import Image, relative
from modprompt.data.pool import Pool, groups_of, pool_of
from modprompt.data.splits import Split, read_record
from modprompt.errors import UserError
from modprompt.io.files import is_inside, write_json
from modprompt.io.images import list_hash
from modprompt.io.records import sealed

_VERSION = 1
VAL_SHOTS = 4  # at most, per class
_Lists = dict[str, list[Image]]  # by part
_Pools = Mapping[str, Pool]  # by part
_Names = Mapping[str, Any]  # lists of names by part, as a file has them


class FewShot(NamedTuple):
    """Few-shot training and validation lists; val is None where only training images are drawn."""

    train: list[Image]
    val: list[Image] | None


def sample(images: Sequence[Image], shots: int, rng: random.Random | ModuleType = random) -> list[Image]:
    """`shots` random images of each label, labels in order of first appearance.

    Of a label with fewer images all are used, without a draw.

    Args:
        images: what is drawn from.
        shots: images of each label.
        rng: the generator; a run's own is Python's global one.
    """
    chosen: list[Image] = []
    for group in groups_of(images).values():
        chosen += rng.sample(group, shots) if len(group) >= shots else group
    return chosen


def fingerprint(lists: Sequence[Sequence[Image]], image_dir: Path) -> str:
    """SHA-256 (hex) of the paths and labels that can be drawn, in order."""
    digest = hashlib.sha256()
    for images in lists:
        for image in images:
            digest.update(f"{relative(image, image_dir)}\t{image.label}\n".encode("utf-8", "surrogatepass"))
        digest.update(b"\n")
    return digest.hexdigest()


class FewShotCache:
    """The cache files of one number of shots and one seed.

    Args:
        folders: where they are looked for; the last is where they are written.
        image_dir: what image paths are relative to.
        shots: images per class, at least 1.
        seed: the run's seed; part of the file name only, the generator is seeded elsewhere.
        val_first: whether validation images are drawn first.

    Attributes:
        path: of the file that is written, or was read.
    """

    def __init__(self, folders: list[Path], image_dir: Path, shots: int, seed: int, val_first: bool = False) -> None:
        name = f"shot_{shots}-seed_{seed}" + ("-val_first" if val_first else "")
        self.candidates: list[tuple[Path, Callable[[Path, str, _Pools], _Names | None]]]
        self.candidates = [(folder / f"{name}.json", self._own) for folder in folders]
        self.candidates += [(folder / f"{name}.pkl", self._family) for folder in folders]
        self.path = folders[-1] / f"{name}.json"
        self.image_dir = image_dir
        self.shots = shots
        self.seed = seed
        self.val_first = val_first

    def read(self, pools: _Pools, key: str) -> _Lists | None:
        """The cached lists if they belong to the pools (of this fingerprint) they would be drawn from, else None.

        Raises:
            UserError: if a file of ours is damaged and this run could not draw the same lists again.
        """
        damaged: list[UserError] = []
        for path, read in self.candidates:
            if not path.is_file():
                continue
            try:
                names = read(path, key, pools)
            except UserError as error:
                damaged.append(error)
                continue
            found = None if names is None else self._found(names, pools)
            if found is not None:
                print(f"Loading the few-shot lists of {path}")
                self.path = path
                return found
            print(f"{path} does not belong to the present split: not used")
        for fault in damaged:
            self._redraw(fault)
        return None

    def write(self, drawn: _Lists, key: str) -> None:
        """Write the lists, whole and sealed, with the fingerprint of those they were drawn from."""
        names = {part: [relative(image, self.image_dir) for image in images] for part, images in drawn.items()}
        write_json(self.path, sealed({"split": key, **names}, _VERSION, generator="random", seed=self.seed))
        print(f"Saved the few-shot lists to {self.path}")

    def _redraw(self, error: UserError) -> None:
        """Say that a file is damaged, if drawing gives the same lists again: from a generator that was just seeded."""
        if self.seed < 0 or random.getstate() != random.Random(self.seed).getstate():
            raise error
        print(f"{error} (done: drawn anew from seed {self.seed})")

    def _own(self, path: Path, key: str, pools: _Pools) -> _Names | None:
        content, _ = read_record(path, "few-shot list", "delete it to draw anew")
        for part in pools:
            listed = content.get(part)
            odd = [name for name in listed if not is_inside(name)] if isinstance(listed, list) else []
            if odd:
                raise UserError(f"{path} ({part}) lists {odd[0]!r}: a path must be relative, without `..`")
        return content if content.get("split") == key else None

    def _family(self, path: Path, key: str, pools: _Pools) -> _Names | None:
        """A pickle of the family, only if every image in it has its present label and is listed once."""
        try:
            lists = read_family_pickle(path, self.image_dir)
        except UserError as error:
            print(error)
            return None
        for part, pool in pools.items():
            for name, label in lists.get(part, []):
                image = pool.find(name)
                if image is None or image.label != label:
                    return None
        names = {part: [name for name, _ in rows] for part, rows in lists.items()}
        return None if any(len(set(some)) < len(some) for some in names.values()) else names  # none is drawn twice

    def _found(self, names: _Names, pools: _Pools) -> _Lists | None:
        """The images of these names, if there are as many of each label as would be drawn."""
        found: _Lists = {}
        for part, pool in pools.items():
            listed = names.get(part)
            if not isinstance(listed, list) or not all(isinstance(name, str) for name in listed):
                return None
            images = [pool.find(name) for name in listed]
            found[part] = [image for image in images if image is not None]
            if len(found[part]) != len(listed):
                return None
            shots = self.shots if part == "train" else min(self.shots, VAL_SHOTS)
            drawn = {label: min(n, shots) for label, n in pool.sizes().items()}
            if Counter(image.label for image in found[part]) != drawn:
                return None
        return found


def hashes_of_seed(split: Split, shots: int, seed: int, image_dir: Path) -> str:
    """The hashes, "training/validation", of the lists that a fresh generator of this seed draws from a split."""
    rng = random.Random(seed)
    lists = sample(split.train, shots, rng), sample(split.val or [], min(shots, VAL_SHOTS), rng)
    return "/".join(list_hash(images, str(image_dir)) for images in lists)


def validation_of_seed(split: Split, shots: int, seed: int) -> list[Image]:
    """As many validation images of each class as training ones, as a fresh generator of this seed draws them next."""
    rng = random.Random(seed)
    sample(split.train, shots, rng)
    return sample(split.val or [], shots, rng)


def fewer_than(shots: int, images: Sequence[Image]) -> str:
    """Which classes have fewer training images than shots, in words; empty if none has."""
    counts = Counter(image.label for image in images)
    few = [label for label, count in counts.items() if count < shots]
    if not few:
        return ""
    least = min(few, key=lambda label: counts[label])
    name = next(image.classname for image in images if image.label == least)
    if len(few) == 1:
        return f"class {name} has {counts[least]} of {shots} images"
    return f"{len(few)} of {len(counts)} classes have fewer than {shots} images (class {name} has {counts[least]})"


def few_shot(train: Sequence[Image], val: Sequence[Image] | None, *, cache: FewShotCache, key: str = "") -> FewShot:
    """The few-shot lists of a seed: from the cache, else drawn (train first, unless `cache` says otherwise) and kept.

    Args:
        train: training images; `cache.shots` of each class are drawn.
        val: validation images; min(shots, 4) of each class are drawn; None draws none.
        cache: where they are kept.
        key: the fingerprint of these lists, if known.
    """
    whole = {"train": train} if val is None else {"train": train, "val": val}
    key = key or fingerprint(list(whole.values()), cache.image_dir)
    lists = cache.read({part: pool_of(images, cache.image_dir) for part, images in whole.items()}, key)
    if lists is None:
        parts = reversed(list(whole.items())) if cache.val_first else whole.items()
        shots = {"train": cache.shots, "val": min(cache.shots, VAL_SHOTS)}
        lists = {part: sample(images, shots[part]) for part, images in parts}
        cache.write(lists, key)
    return FewShot(lists["train"], lists.get("val"))
