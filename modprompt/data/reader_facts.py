"""Facts about the data set of a run that its reader knows, and facts that follow from its lists of images.

A reader of this project sets attributes with the names of `ReaderFacts`. A reader of another codebase has none of these
attributes, so the lists of images themselves are examined.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from modprompt.io.images import images_hash
from modprompt.io.result import BY_CLASS
from modprompt.io.settings import SHOTS_BY_CLASS


class ReaderFacts(NamedTuple):
    """Information about a data set that its reader provides.

    Attributes:
        image_root: the folder that image paths are relative to.
        split_facts: name, status and hash of the split.
        shots_hash: hash of the file with the shots of each class; empty if all classes have the same number of shots.
        few_shot_hash: hash of the few-shot lists of all classes; empty if all images are used.
        own_validation: whether the data set has validation images that are not also its test images.
        selected_on: which images select the best checkpoint or hyperparameters; empty if nothing is selected.
        notes: notes about the images for the result.
        record_files: the split file and the few-shot list, as {name in results: path}.
        which: the numbers of the selected classes among all classes of the data set.
        picked: whether the training images were picked in active-learning rounds.
        has_test: whether the data set has test images.
    """

    image_root: str = ""
    split_facts: Mapping[str, Any] = {}
    shots_hash: str = ""
    few_shot_hash: str = ""
    own_validation: bool | None = None
    selected_on: str = ""
    notes: Sequence[str] = ()
    record_files: Mapping[str, str] = {}
    which: Sequence[int] = ()
    picked: bool = False
    has_test: bool = True


def reader_facts(dataset: Any) -> ReaderFacts:
    """Return information about a data set from its reader, such as the hash of the split."""
    return ReaderFacts(**{name: getattr(dataset, name) for name in ReaderFacts._fields if hasattr(dataset, name)})


def own_validation(dataset: Any) -> bool:
    """Return True if a data set has validation images that are not also its test images."""
    known = reader_facts(dataset).own_validation
    if known is not None:
        return bool(known)
    if not dataset.val or dataset.val is dataset.test:
        return False
    test = {image.impath for image in dataset.test or []}
    return not all(image.impath in test for image in dataset.val)


def images_hash_of(dataset: Any, cfg: Any, *names: str) -> str:
    """Return the hash of some lists of a data set's images, by default of all; it is computed once.

    A few-shot training list is hashed by the contents of its files, all other lists by paths, labels and sizes.
    """
    names = names or ("train_x", "val", "test")
    kept: dict[tuple[str, ...], str] = dataset.__dict__.setdefault("_images_hashes", {})
    if names not in kept:
        lists = [getattr(dataset, name) for name in names]
        by_content = is_few_shot(cfg)
        kept[names] = images_hash(*lists, root=reader_facts(dataset).image_root, first_by_content=by_content)
    return kept[names]


def shots_file(cfg: Any) -> str:
    """Return the file that contains the number of shots of each class, or "" if no file is set."""
    return str(getattr(cfg.DATASET, SHOTS_BY_CLASS.rpartition(".")[2], ""))


def is_few_shot(cfg: Any) -> bool:
    """Return True if a run trains on a limited number of images of each class."""
    return bool(cfg.DATASET.NUM_SHOTS >= 1 or shots_file(cfg))


def shots_of(cfg: Any) -> int | str:
    """Return the number of training images of each class: -1 for all images, BY_CLASS if the classes differ."""
    if shots_file(cfg):
        return BY_CLASS
    return int(cfg.DATASET.NUM_SHOTS) if cfg.DATASET.NUM_SHOTS >= 1 else -1
