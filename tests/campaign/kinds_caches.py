"""Kinds of files that data sets and runs keep so that work is done once: listings, features, images."""

from __future__ import annotations

import functools
import json
import pickle
import shutil
import types
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch

from modprompt.data import listing_file
from modprompt.io.json_text import parse
from modprompt.trainers.feature_cache import feature_batches
from modprompt.trainers.image_cache import with_kept_images
from tests.campaign.kind import NPZ, PICKLE, Kind, resealed
from tests.campaign.kinds_data import facts_of
from tests.modprompt.data import test_readers, trees
from tests.modprompt.trainers.odd_images import loader_of, write_images

_FOREVER = 10**19


def _write_imagenet(folder: Path) -> None:
    trees.imagenet(folder)
    _read_imagenet(folder)


def _read_imagenet(root: Path) -> Any:
    with mock.patch.object(listing_file, "SETTLED_NS", -_FOREVER):
        return facts_of(test_readers.read("ImageNet", root, 2), root)


def _write_listing(folder: Path) -> Path:
    _write_imagenet(folder)
    return folder / "imagenet" / "split_fewshot" / listing_file.NAME


def _read_listing(path: Path) -> Any:
    return _read_imagenet(path.parents[2])


def _write_preprocessed(folder: Path) -> Path:
    trees.imagenet(folder)
    found = test_readers.read("ImageNet", folder)
    shutil.rmtree(folder / "imagenet" / "split_fewshot")
    lists = {"train": list(reversed(found.train_x)), "test": list(found.test)}
    path = folder / "imagenet" / "preprocessed.pkl"
    path.write_bytes(pickle.dumps(lists, protocol=4))
    return path


def _read_preprocessed(path: Path) -> Any:
    shutil.rmtree(path.parent / "split_fewshot", ignore_errors=True)  # else the list is not looked at
    return facts_of(test_readers.read("ImageNet", path.parents[1]), path.parents[1])


def _resealed_listing(content: Any) -> Any:
    """The facts with a seal of themselves; those of the arrays in them are left."""
    try:
        facts = resealed(parse(content["facts"].tobytes()))
    except (KeyError, ValueError, AttributeError, TypeError):
        return content
    return {**content, "facts": np.frombuffer(json.dumps(facts).encode("ascii"), np.uint8)}


class _Pictures:
    """A loader's data set of images that an encoder below knows by their number."""

    transform = "none"

    def __init__(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        self.data_source = []
        for number, label in enumerate([0, 0, 1, 1, 2, 2]):
            path = folder / f"{number}.jpg"
            if not path.exists():
                path.write_bytes(bytes([number]))
            self.data_source.append(types.SimpleNamespace(impath=str(path), label=label))


class _Loader:
    batch_size = 4

    def __init__(self, dataset: _Pictures) -> None:
        self.dataset = dataset

    def __iter__(self) -> Any:
        labels = torch.tensor([item.label for item in self.dataset.data_source])
        yield {"img": torch.arange(len(labels)).float()[:, None], "label": labels}


def cached_features(folder: Path) -> Any:
    """(features, labels) of six pictures in a folder, by a feature cache in it."""
    torch.manual_seed(0)
    loader = _Loader(_Pictures(folder / "images"))
    trainer = types.SimpleNamespace(
        clip_model=types.SimpleNamespace(visual=torch.nn.Linear(2, 2)),
        model=types.SimpleNamespace(stream=None),
        device=torch.device("cpu"),
        evaluation=types.SimpleNamespace(encode_image=lambda image: torch.cat([image, -image], 1)),
        run=types.SimpleNamespace(feature_width=2),
    )
    batches = feature_batches(str(folder / "kept"), "Some", loader, trainer)
    return batches.features, batches.labels


def _write_features(folder: Path) -> Path:
    cached_features(folder)
    (path,) = (folder / "kept").iterdir()
    return path


@functools.lru_cache(maxsize=4)
def _pictures(folder: Path) -> list[tuple[str, int]]:
    return write_images(folder / "pictures")[:4]


def _kept(folder: Path) -> Any:
    loader = with_kept_images(loader_of(_pictures(folder)), str(folder / "kept"), "Odd")
    return [{**batch} for batch in loader]


def _write_kept(folder: Path) -> Path:
    _kept(folder)
    (path,) = (folder / "kept").glob("*.images")
    return path


def kinds() -> list[Kind]:
    """All of them."""
    return [
        Kind("ImageNet's listing", NPZ, _write_listing, _read_listing, True, _resealed_listing),
        Kind("ImageNet's preprocessed.pkl", PICKLE, _write_preprocessed, _read_preprocessed),
        Kind("features of test images", NPZ, _write_features, lambda path: cached_features(path.parents[1]), True),
        Kind("kept test images", NPZ, _write_kept, lambda path: _kept(path.parents[1]), True),
    ]
