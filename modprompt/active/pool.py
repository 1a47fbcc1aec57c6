"""The images that rounds choose from: which have a label so far, in the order of labelling; and these as a data set."""

from __future__ import annotations

import contextlib
import copy
import math
from collections.abc import Iterator, Sequence
from typing import Any

from dassl.data.datasets import DATASET_REGISTRY, Datum

from modprompt.data.images import UNKNOWN
from modprompt.data.reader_facts import reader_facts
from modprompt.io.images import below, list_hash


class Pool:
    """All images that may be used for training.

    Args:
        dataset: a data set of a reader. If it has a `pool`, these images have no labels yet; otherwise the labels of
            all training images are known, and count only once they are asked for.

    Attributes:
        images: those that have a label at the start, then the others, in the data set's order.
        names: of the C classes.
        root: the image folder.
        labels: {place in images: label that training uses}, in the order of labelling.
        free: places of those that a model has labelled.
    """

    def __init__(self, dataset: Any) -> None:
        rest = getattr(dataset, "pool", None)
        labelled = [] if rest is None else list(dataset.train_x)
        self.dataset = dataset
        self.images: list[Any] = [*labelled, *(dataset.train_x if rest is None else rest)]
        self.names: list[str] = list(dataset.classnames)
        self.root = reader_facts(dataset).image_root
        self.labels: dict[int, int] = {place: image.label for place, image in enumerate(labelled)}
        self.known_at_start = len(labelled)
        self.free: set[int] = set()
        self._places = {self.file(place): place for place in range(len(self.images))}

    def file(self, place: int) -> str:
        """An image's path below the image folder, with forward slashes."""
        return below(self.images[place].impath, self.root)

    def place(self, file: str) -> int:
        """The place of an image by that path; KeyError if there is none."""
        return self._places[file]

    @property
    def unlabelled(self) -> list[int]:
        """Places of the images without a label, in order."""
        return [place for place in range(len(self.images)) if place not in self.labels]

    def truth(self, place: int) -> int:
        """The label that the data set has of an image; UNKNOWN if it has none."""
        label: int = self.images[place].label
        return label

    def counts(self) -> list[int]:
        """How many images have each of the C labels."""
        labels = list(self.labels.values())
        return [labels.count(label) for label in range(len(self.names))]

    def wrong(self) -> int | None:
        """How many free labels differ from the data set's; None if it does not know them all."""
        truths = {place: self.truth(place) for place in self.free}
        if UNKNOWN in truths.values():
            return None
        return sum(self.labels[place] != truth for place, truth in truths.items())

    def as_dataset(self) -> Any:
        """The data set with the labelled images, in the order of labelling, for training; all else as it is."""
        images = [
            Datum(self.images[place].impath, label, self.images[place].domain, self.names[label])
            for place, label in self.labels.items()
        ]
        chosen = self._with(images)
        chosen.few_shot_hash, chosen.picked = list_hash(images, self.root), True
        return chosen

    def _with(self, images: list[Any]) -> Any:
        other = copy.copy(self.dataset)
        other._train_x = images
        other.__dict__.pop("_images_hashes", None)  # of the whole pool
        return other

    def for_scoring(self) -> Any:
        """The data set for a trainer that trains nothing; Dassl's loaders need a training image even so."""
        return self.dataset if len(self.dataset.train_x) else self._with(self.images[:1])


def spread(counts: Sequence[int]) -> dict[str, Any]:
    """What a record holds on the labels of C classes so far.

    balance: the entropy of how they are spread over log C: 1 is even, 0 is one class alone.
    """
    shares = [count / sum(counts) for count in counts if count]
    entropy = abs(sum(share * math.log(share) for share in shares))
    balance = entropy / math.log(len(counts)) if len(counts) > 1 else 1.0
    return {"counts": list(counts), "classes_covered": len(shares), "balance": round(balance, 6)}


@contextlib.contextmanager
def given(name: str, dataset: Any) -> Iterator[None]:
    """Within the block, building the data set registered under this name gives this one."""
    reader = DATASET_REGISTRY.get(name)

    def stand_in(cfg: Any) -> Any:
        return dataset

    stand_in.__name__ = name
    DATASET_REGISTRY.register(force=True)(stand_in)
    try:
        yield
    finally:
        DATASET_REGISTRY.register(force=True)(reader)
