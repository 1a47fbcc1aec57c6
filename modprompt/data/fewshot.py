"""Few-shot sampling with Python's random, and a cache of what was drawn.

One cache file serves all, base and new classes, so that the runs of one seed share their images. It names images
relative to the image folder, has a hash of its content, and is used only while the split it was drawn from is the same.
The family's own pickles are read too.
"""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from modprompt.data.family_pickle import read_family_pickle
from modprompt.data.images import Image, by_label, relatives
from modprompt.data.splits import Split, read_record
from modprompt.errors import UserError
from modprompt.io.files import write_json
from modprompt.io.images import list_hash
from modprompt.io.records import KEY, sealed
from modprompt.output import say

_VERSION = 1
VAL_SHOTS = 4  # at most, per class
FOLDER = "split_fewshot"  # of the cache files, as the family calls it
Shots = int | Mapping[int, int]  # images of each class: the same number for all classes, or by label
_Lists = Mapping[str, Sequence[Image]]  # by part


def of_label(shots: Shots, label: int) -> int:
    """Return the number of images of one class."""
    return shots if isinstance(shots, int) else shots.get(label, 0)


def hold_out(pool: Iterable[Any], taken: Iterable[Any], per_class: Shots, seed: int) -> list[Any]:
    """Return up to `per_class` images of each label in `pool` that are not `taken`, drawn with a separate generator."""
    rng = random.Random(f"held out {seed}")
    used = {image.impath for image in taken}
    groups = by_label(image for image in pool if image.impath not in used)
    return [
        image
        for label in sorted(groups)
        for image in rng.sample(groups[label], min(of_label(per_class, label), len(groups[label])))
    ]


def few(shots: Shots) -> Shots:
    """The same for validation, VAL_SHOTS at most."""
    return min(shots, VAL_SHOTS) if isinstance(shots, int) else {key: min(n, VAL_SHOTS) for key, n in shots.items()}


def sample(images: Sequence[Image], shots: Shots, rng: random.Random | ModuleType = random) -> list[Image]:
    """`shots` random images of each label, labels in order of first appearance; of fewer images all, without a draw.

    A run's own generator is Python's global one.
    """
    chosen: list[Image] = []
    for label, group in by_label(images).items():
        number = of_label(shots, label)
        chosen += rng.sample(group, number) if len(group) >= number else group
    return chosen


def fingerprint(lists: Sequence[Sequence[Image]], image_dir: Path) -> str:
    """SHA-256 (hex) of the paths and labels that can be drawn, in order."""
    digest = hashlib.sha256()
    for images in lists:
        rows = (f"{name}\t{image.label}\n" for name, image in zip(relatives(images, image_dir), images, strict=True))
        digest.update(f"{''.join(rows)}\n".encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


class FewShotCache:
    """The cache files of one number of shots and one seed.

    Args:
        folders: where they are looked for; the last is where they are written, if it is not None.
        image_dir: what image paths are relative to.
        shots: images per class, at least 1 of each.
        seed: the run's seed; part of the file name only, the generator is seeded elsewhere. If nothing is written, the
            lists are those that a fresh generator of this seed draws.
        val_first: whether validation images are drawn first.
        name: what the files are called by their shots; a name that no other codebase has if shots are by label.

    Attributes:
        path: of the file that was read or written; None if there is none.
    """

    def __init__(
        self,
        folders: Sequence[Path | None],
        image_dir: Path,
        shots: Shots,
        seed: int,
        val_first: bool = False,
        name: str = "",
    ) -> None:
        name = f"{name or f'shot_{shots}'}-seed_{seed}" + ("-val_first" if val_first else "")
        self.candidates = [folder / f"{name}{end}" for end in (".json", ".pkl") for folder in folders if folder]
        self.path = folders[-1] and folders[-1] / f"{name}.json"
        self.image_dir, self.shots, self.seed, self.val_first = image_dir, shots, seed, val_first
        self._train: list[Image] | None = None  # read without the pool

    def lists(
        self, train: Sequence[Image], val: Sequence[Image] | None
    ) -> tuple[Sequence[Image], Sequence[Image] | None]:
        """The lists of these images: kept ones, else drawn (train first, unless `val_first`) and kept.

        `shots` training images of each class and min(shots, 4) for validation; without `val` none of these. After
        `read_train` it is that list.
        """
        if self._train is not None:
            return self._train, None
        whole = {"train": train} if val is None else {"train": train, "val": val}
        key = fingerprint(list(whole.values()), self.image_dir)
        lists = self.read(whole, key) or self.draw(whole, key)
        return lists["train"], lists.get("val")

    def read_train(self, pool_hash: str, sizes: Mapping[int, int], find: Callable[[str], Image | None]) -> bool:
        """Read the list of a data set without validation images, without knowing all images that it was drawn from.

        Only a sealed file of this project is read, the first that exists. A False return prints nothing.

        Args:
            pool_hash: the fingerprint of the training images from which the list must have been drawn.
            sizes: the number of these images, by label.
            find: returns the image of a path below the image folder, or None if there is none.

        Returns:
            True if the list was read, and all of its images exist.
        """
        path = next(filter(Path.is_file, self.candidates), None)
        if path is None or path.suffix != ".json":
            return False
        try:
            content, _ = read_record(path, "few-shot list", "delete it to draw anew")
        except UserError:  # `read` reports it
            return False
        names = content.get("train")
        if KEY not in content or content.get("split") != pool_hash or not isinstance(names, list):
            return False
        images = [image for image in map(find, dict.fromkeys(map(str, names))) if image is not None]
        drawn = {label: min(number, of_label(self.shots, label)) for label, number in sizes.items()}
        if len(images) < len(names) or Counter(image.label for image in images) != drawn:
            return False
        say(f"Loading the few-shot lists of {path}")
        self.path, self._train = path, images
        return True

    def read(self, whole: _Lists, key: str) -> _Lists | None:
        """The cached lists if they belong to those (of this fingerprint) that they would be drawn from, else None.

        Raises:
            UserError: if a file of ours is damaged and this run could not draw the same lists again.
        """
        damaged: list[UserError] = []
        for path in filter(Path.is_file, self.candidates):
            lists = None
            try:
                lists = self._lists(path, whole, key)
            except UserError as error:
                if path.suffix == ".json":
                    damaged.append(error)
                    continue
                say(error)
            if lists is not None:
                say(f"Loading the few-shot lists of {path}")
                self.path = path
                return lists
            say(f"note: {path} was made for a different split, so new few-shot lists are drawn.")
        for fault in damaged:
            if self.seed < 0 or random.getstate() != random.Random(self.seed).getstate():
                raise fault  # only a generator that was just seeded draws the same lists again
            say(f"note: {fault} The few-shot list was drawn again with seed {self.seed}.")
        return None

    def draw(self, whole: _Lists, key: str) -> _Lists:
        """New lists, written whole and sealed, with the fingerprint of those they are drawn from."""
        rng = random if self.path else random.Random(self.seed)
        order = sorted(whole, reverse=self.val_first)  # train, val
        lists = {part: sample(whole[part], self._shots(part), rng) for part in order}
        if self.path:
            names = {part: list(relatives(images, self.image_dir)) for part, images in lists.items()}
            write_json(self.path, sealed({"split": key, **names}, _VERSION, generator="random", seed=self.seed))
            say(f"Saved the few-shot lists to {self.path}")
        return lists

    def _shots(self, part: str) -> Shots:
        return self.shots if part == "train" else few(self.shots)

    def _lists(self, path: Path, whole: _Lists, key: str) -> _Lists | None:
        """The lists of a file, if all its images are there, each once, and as many of each label as would be drawn.

        The family's pickles have no fingerprint, but labels, which must be the present ones.
        """
        rows: Mapping[str, list[tuple[str, int | None]]]
        if path.suffix == ".json":
            content, _ = read_record(path, "few-shot list", "delete it to draw anew")
            if content.get("split") != key:
                return None
            listed = {part: content.get(part) for part in whole}
            rows = {
                part: [(str(name), None) for name in names] for part, names in listed.items() if isinstance(names, list)
            }
        else:
            rows = {part: [*pairs] for part, pairs in read_family_pickle(path, self.image_dir).items()}
        lists: dict[str, list[Image]] = {}
        for part, images in whole.items():
            labels = dict(rows.get(part, []))
            named = zip(relatives(images, self.image_dir), images, strict=True)
            by_name = {name: one for name, one in named if name in labels and labels[name] in (None, one.label)}
            asked = self._shots(part)
            drawn = {label: min(n, of_label(asked, label)) for label, n in Counter(one.label for one in images).items()}
            if len(by_name) < len(rows.get(part, [])) or Counter(image.label for image in by_name.values()) != drawn:
                return None
            lists[part] = [by_name[name] for name in labels]
        return lists


def hashes_of_seed(split: Split, shots: int, seed: int, image_dir: Path) -> str:
    """The hashes, "training/validation", of the lists that a fresh generator of this seed draws from a split."""
    rng = random.Random(seed)
    lists = sample(split.train, shots, rng), sample(split.val or [], few(shots), rng)
    return "/".join(list_hash(images, str(image_dir)) for images in lists)


def validation_of_seed(split: Split, shots: Shots, seed: int) -> list[Image]:
    """As many validation images of each class as training ones, as a fresh generator of this seed draws them next."""
    rng = random.Random(seed)
    sample(split.train, shots, rng)
    return sample(split.val or [], shots, rng)


def fewer_than(shots: int, images: Sequence[Image]) -> str:
    """Which classes have fewer training images than shots, in words; empty if none has."""
    counts = Counter(image.label for image in images)
    short = [label for label, count in counts.items() if count < shots]
    if not short:
        return ""
    least = min(short, key=lambda label: counts[label])
    name = next(image.classname for image in images if image.label == least)
    if len(short) == 1:
        return f"class {name} has {counts[least]} of {shots} images"
    return f"{len(short)} of {len(counts)} classes have fewer than {shots} images (class {name} has {counts[least]})"


def unequal(images: Sequence[Image]) -> str:
    """How unequal the classes of training images are, in words."""
    counts = Counter(image.label for image in images).values()
    return f"shots by class: {min(counts)} to {max(counts)}, {len(images) / len(counts):.3g} on average"
