"""Kinds of files of data sets: splits, lists, annotations, images, caches, archives and downloads."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import random
import shutil
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from dassl.data.datasets import Datum
from dassl.utils import read_image
from PIL import Image

from modprompt.data import images
from modprompt.data.fewshot import FewShotCache, fingerprint
from modprompt.data.listings import read_classnames
from modprompt.data.pool import pool_of
from modprompt.data.prepare.download import verify
from modprompt.data.prepare.unpack import unpack
from modprompt.data.splits import Split, read_split, write_split
from modprompt.io.json_text import parse
from tests.campaign.kind import ARCHIVE, CSV, IMAGE, JSON, MAT, PICKLE, TEXT, Kind, refuse, resealed
from tests.campaign.values import tree
from tests.modprompt.data import test_readers, test_unlabelled, trees

FORMATS = {"jpg": "JPEG", "png": "PNG", "bmp": "BMP", "gif": "GIF", "tif": "TIFF", "webp": "WEBP", "ppm": "PPM"}


def _rows(folder: Path) -> list[images.Image]:
    return [
        images.Image(str(folder / "2750" / name / f"{number}.jpg"), label, name)
        for label, name in enumerate(("Forest", "River"))
        for number in range(6)
    ]


def _write_images(folder: Path) -> list[images.Image]:
    rows = _rows(folder)
    for row in rows:
        trees.touch(Path(row.impath))
    return rows


def _write_split(folder: Path) -> Path:
    rows = _write_images(folder)
    write_split(Split(rows[::3], rows[1::3], rows[2::3]), folder / "split.json", folder / "2750")
    return folder / "split.json"


def _write_family_split(folder: Path) -> Path:
    path = _write_split(folder)
    content = parse(path.read_bytes())
    path.write_text(json.dumps({part: content[part] for part in ("train", "val", "test")}, indent=4))
    return path


def _read_split(path: Path) -> Any:
    return read_split(path, path.parent / "2750").split


def _pools(folder: Path) -> dict[str, Any]:
    rows = _rows(folder)
    return {"train": pool_of(rows[::2], folder / "2750"), "val": pool_of(rows[1::2], folder / "2750")}


def _cache(folder: Path) -> FewShotCache:
    return FewShotCache([folder / "split_fewshot"], folder / "2750", 2, -1)  # without a seed none is drawn anew


def _key(folder: Path) -> str:
    rows = _rows(folder)
    return fingerprint([rows[::2], rows[1::2]], folder / "2750")


def _write_list(folder: Path) -> Path:
    rows, cache = _write_images(folder), _cache(folder)
    drawn = {"train": [rows[0], rows[2], rows[6], rows[8]], "val": [rows[1], rows[3], rows[7], rows[9]]}
    cache.write(drawn, _key(folder))
    return cache.path


def _write_family_list(folder: Path) -> Path:
    rows = _write_images(folder)
    path = folder / "split_fewshot" / "shot_2-seed_-1.pkl"
    path.parent.mkdir()
    drawn = {"train": [rows[0], rows[2], rows[6], rows[8]], "val": [rows[1], rows[3], rows[7], rows[9]]}
    lists = {
        part: [Datum(impath=one.impath, label=one.label, classname=one.classname) for one in some]
        for part, some in drawn.items()
    }
    path.write_bytes(pickle.dumps(lists, protocol=4))
    return path


def _read_list(path: Path) -> Any:
    folder = path.parents[1]
    found = _cache(folder).read(_pools(folder), _key(folder))
    refuse("" if found else f"{path} is not used: drawn anew")
    return found


def _picture(ending: str) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        pixels = np.random.default_rng(0).integers(0, 256, (12, 9, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"image.{ending}")
        return folder / f"image.{ending}"

    return write


def _read_picture(path: Path) -> Any:
    fault = images.look_at(str(path)).fault
    refuse(fault and f"{path}: {fault}")
    return np.asarray(read_image(str(path)))


def facts_of(dataset: Any, root: Path) -> Any:
    """The lists of a data set, below its root, and its classes."""
    lists = [test_readers.facts(items, root) for items in (dataset.train_x, dataset.val, dataset.test)]
    return lists, dataset.classnames


def _annotated(make: Callable[[Path], None], name: str) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        make(folder)
        return folder / name

    return write


def _read_annotated(name: str, up: int) -> Callable[[Path], Any]:
    """A split made anew of annotations that lie `up` folders below the root."""

    def read(path: Path) -> Any:
        root = path.parents[up]
        for made in root.rglob("split_*.json"):
            made.unlink()
        with _sorted_folders():
            return facts_of(test_readers.read(name, root), root)

    return read


def _sorted_folders() -> Any:
    return mock.patch.multiple("modprompt.data.splits", listdir_nohidden=test_readers.sorted_listing)


def _folder_names(folder: Path) -> Path:
    trees.pictures(folder / "data", {"a": 5, "b": 6})
    trees.lines(folder / "data" / "classnames.txt", ["a cat", "b big dog"])
    return folder / "data" / "classnames.txt"


def _unlabelled(name: str) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        trees.pictures(folder / "images", {"b": 4, "a/deep": 5})
        trees.lines(folder / "classnames.txt", test_unlabelled.NAMES)
        trees.lines(
            folder / "labels.csv", ["file,label", "images/b/image_0000.png,cat", "images/b/image_0001.png,big_dog"]
        )
        test_unlabelled.read(folder)
        (made,) = folder.glob(f"**/{name}")
        return made

    return write


def _read_unlabelled(path: Path) -> Any:
    root = next(folder for folder in path.parents if (folder / "images").is_dir())
    found = test_unlabelled.read(root)
    return [[(os.path.relpath(item.impath, root), item.label) for item in some] for some in (found.pool, found.train_x)]


def _packed(ending: str) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        content, path = folder / "content", folder / f"archive.{ending}"
        for name in ("images/a.jpg", "images/b/c.jpg", "labels.txt"):
            trees.lines(content / name, [name] * 40)
        if ending == "zip":
            with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
                for one in sorted(content.rglob("*")):
                    file.write(one, one.relative_to(content))
        else:
            with tarfile.open(path, "w:gz" if ending == "tar.gz" else "w") as file:
                file.add(content, ".")
        return path

    return write


def _unpacked(path: Path) -> Any:
    made = path.parent / "made"
    shutil.rmtree(made, ignore_errors=True)
    try:
        unpack(path, made)
        return tree(made)
    finally:
        shutil.rmtree(made, ignore_errors=True)


def _download(folder: Path) -> Path:
    (folder / "file.bin").write_bytes(random.Random(0).randbytes(3000))
    return folder / "file.bin"


def _read_download(path: Path) -> Any:
    verify(path, f"sha256:{hashlib.sha256(random.Random(0).randbytes(3000)).hexdigest()}")
    return path.read_bytes()


ANNOTATIONS = (  # what it is, how it is written, in which tree, by whom it is read
    ("imagelabels.mat", MAT, trees.oxford_flowers, "oxford_flowers/imagelabels.mat", "OxfordFlowers"),
    ("cat_to_name.json", JSON, trees.oxford_flowers, "oxford_flowers/cat_to_name.json", "OxfordFlowers"),
    ("cars_meta.mat", MAT, trees.stanford_cars, "stanford_cars/devkit/cars_meta.mat", "StanfordCars"),
    ("cars_train_annos.mat", MAT, trees.stanford_cars, "stanford_cars/devkit/cars_train_annos.mat", "StanfordCars"),
    ("trainval.txt of Pets", TEXT, trees.oxford_pets, "oxford_pets/annotations/trainval.txt", "OxfordPets"),
    ("variants.txt of Aircraft", TEXT, trees.fgvc_aircraft, "fgvc_aircraft/variants.txt", "FGVCAircraft"),
    ("ClassName.txt of SUN397", TEXT, trees.sun397, "sun397/ClassName.txt", "SUN397"),
    ("trainlist01.txt of UCF101", TEXT, trees.ucf101, "ucf101/ucfTrainTestlist/trainlist01.txt", "UCF101"),
    ("classnames.txt of ImageNet-A", TEXT, trees.imagenet_a, "imagenet-adversarial/classnames.txt", "ImageNetA"),
)


def kinds() -> list[Kind]:
    """All of them."""
    return [
        Kind("split", JSON, _write_split, _read_split, True, resealed),
        Kind("split of the family", JSON, _write_family_split, _read_split),
        Kind("few-shot list", JSON, _write_list, _read_list, True, resealed),
        Kind("few-shot list of the family", PICKLE, _write_family_list, _read_list),
        *(Kind(f"image, {name}", IMAGE, _picture(ending), _read_picture) for ending, name in FORMATS.items()),
        *(
            Kind(name, form, _annotated(make, path), _read_annotated(dataset, path.count("/")))
            for name, form, make, path, dataset in ANNOTATIONS
        ),
        Kind(
            "classnames.txt of ImageNet", TEXT, _annotated(trees.imagenet, "imagenet/classnames.txt"), read_classnames
        ),
        Kind("classnames.txt of ImageFolder", TEXT, _folder_names, _read_annotated("ImageFolder", 0)),
        Kind("classnames.txt of Unlabelled", TEXT, _unlabelled("classnames.txt"), _read_unlabelled),
        Kind("labels.csv of Unlabelled", CSV, _unlabelled("labels.csv"), _read_unlabelled),
        Kind("images looked at, of Unlabelled", JSON, _unlabelled("*.json"), _read_unlabelled),
        Kind("zip archive", ARCHIVE, _packed("zip"), _unpacked, True),
        Kind("tar archive", ARCHIVE, _packed("tar"), _unpacked),
        Kind("tar.gz archive", ARCHIVE, _packed("tar.gz"), _unpacked, True),
        Kind("download with a digest", ARCHIVE, _download, _read_download, True),
    ]
