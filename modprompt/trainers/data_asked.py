"""Checks that a data-set reader of another codebase respects the settings of the data set."""

import collections
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from dassl.data.data_manager import DatasetWrapper
from yacs.config import CfgNode

from modprompt.data.selection import only_tests
from modprompt.errors import UserError
from modprompt.io.image_files import FAMILY
from modprompt.io.settings import READ_AS

# what asks for all training images of the data set
_ALL = {"NUM_SHOTS": 0, "SHOTS_BY_CLASS": "", "SUBSAMPLE_CLASSES": "all", "TRAIN_ON_VAL": False}


class _Watched(CfgNode):
    """A configuration node that records which of its settings are read."""

    read: set[str] = set()  # of all, since a reader may copy its configuration

    def __getitem__(self, key: str) -> Any:
        self.read.add(key)
        return super().__getitem__(key)


@contextmanager
def watched(cfg: Any) -> Iterator[Any]:
    """Yield a copy of a configuration that records which settings of DATASET a data-set reader reads."""
    copy = cfg.clone()
    dict.__setitem__(copy, "DATASET", _Watched(cfg.DATASET))
    copy.freeze()
    _Watched.read.clear()
    yield copy


def require_decoding(loaders: Iterable[Any], rule: str) -> None:
    """Raise UserError if data loaders of another codebase would ignore the setting INPUT.DECODING."""
    own = DatasetWrapper.__getitem__
    if rule != FAMILY and any(getattr(type(one.dataset), "__getitem__", None) is not own for one in loaders):
        raise UserError(
            f"{READ_AS} {rule} is not supported by this program, because its data loaders do not use Dassl's "
            f"DatasetWrapper. Set {READ_AS} to {FAMILY}."
        )


def require(dataset: Any, cfg: Any) -> None:
    """Check that the reader of a data set did not ignore settings; the data set must have been read within `watched`.

    A message is printed if the reader returned more training images per class than DATASET.NUM_SHOTS.

    Raises:
        UserError: if a reader of another codebase did not read a setting that selects images, or gives several labels
            to an image.
    """
    if type(dataset).__module__.startswith("modprompt."):
        return
    asked = {key: cfg.DATASET[key] for key in _ALL if key in cfg.DATASET}
    if asked.get("NUM_SHOTS", 0) < 1 or only_tests(cfg):
        asked.pop("NUM_SHOTS", None)
    if only_tests(cfg):
        asked.pop("SHOTS_BY_CLASS", None)
        asked.pop("TRAIN_ON_VAL", None)
    ignored = [
        f"DATASET.{key} {value}" for key, value in asked.items() if value != _ALL[key] and key not in _Watched.read
    ]
    name, images = cfg.DATASET.NAME, dataset.train_x
    if ignored:
        raise UserError(
            f"The reader of the data set {name} does not support {', '.join(ignored)} and returned "
            f"{dataset.num_classes} classes and {len(images)} training images. Remove "
            f"{'this setting' if len(ignored) == 1 else 'these settings'}."
        )
    if any(isinstance(image.label, (list, tuple)) for image in images):
        raise UserError(
            f"The data set {name} is not supported because its reader gives several labels to an image. Use a data set "
            "with one label per image."
        )
    shots = collections.Counter((getattr(image, "domain", 0), image.label) for image in images)
    if "NUM_SHOTS" in asked and max(shots.values(), default=0) > asked["NUM_SHOTS"]:
        most = max(shots.values())
        print(
            f"note: DATASET.NUM_SHOTS is {asked['NUM_SHOTS']}, but the reader of the data set {name} returned up to "
            f"{most} training images per class."
        )
