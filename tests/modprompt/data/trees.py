"""Small trees in the official raw layout of every data set: text lists, .mat, JSON, folders; the images are stand-ins.

Each maker fills ROOT/<data set>. Sizes and orders are chosen so that rounding, first appearance and odd class counts show.
"""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image


def touch(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"an image")


def lines(path: Path, rows) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{row}\n" for row in rows))


def pictures(root: Path, sizes: dict[str, int], start=0) -> None:
    """Class folders of images that can be decoded, no two the same."""
    for label, (name, size) in enumerate(sizes.items()):
        (root / name).mkdir(parents=True, exist_ok=True)
        for number in range(start, start + size):
            Image.new("L", (3, 2), (16 * label + number) % 256).save(root / name / f"image_{number:04d}.png")


def folders(root: Path, sizes: dict[str, int], suffix=".jpg") -> None:
    for name, size in sizes.items():
        for number in range(size):
            touch(root / name / f"image_{number:04d}{suffix}")


def caltech101(root):
    where = root / "caltech-101" / "101_ObjectCategories"
    sizes = {"accordion": 7, "airplanes": 11, "Faces": 5, "Faces_easy": 4, "Leopards": 22, "yin_yang": 4}
    folders(where, {**sizes, "BACKGROUND_Google": 6, "Motorbikes": 13, ".hidden": 1})


def caltech256(root):
    where = root / "caltech-256" / "256_ObjectCategories"
    sizes = {"002.american-flag": 9, "007.bat": 7, "232.t-shirt": 20, "145.motorbikes-101": 5, "257.clutter": 4}
    folders(where, sizes)
    touch(where / "007.bat" / "RENAME2")
    touch(where / "232.t-shirt" / "x.JPG")


def dtd(root):
    folders(root / "dtd" / "images", {"waffled": 8, "banded": 7, "polka-dotted": 21, "zigzagged": 6, "braided": 4})
    touch(root / "dtd" / "images" / "waffled" / ".directory")


def eurosat(root):
    folders(root / "eurosat" / "2750", {"SeaLake": 9, "AnnualCrop": 7, "Forest": 24, "Glacier": 6, "River": 5})


def food101(root):
    folders(root / "food-101" / "images", {"waffles": 9, "apple_pie": 6, "baby_back_ribs": 31, "beignets": 7})


def fgvc_aircraft(root):
    where = root / "fgvc_aircraft"
    variants = ["707-320", "Beechcraft 1900", "F-16A/B", "F/A-18", "Yak-42"]
    lines(where / "variants.txt", variants)
    number = 1000
    for part, counts in (("train", (5, 3, 18, 4, 1)), ("val", (2, 6, 5, 1, 3)), ("test", (3, 1, 4, 2, 5))):
        rows = []
        for k in range(max(counts)):
            for variant, count in reversed(list(zip(variants, counts))):
                if k < count:
                    rows.append(f"{number} {variant}")
                    touch(where / "images" / f"{number}.jpg")
                    number += 1
        lines(where / f"images_variant_{part}.txt", rows)


def oxford_flowers(root):
    from scipy.io import savemat

    where = root / "oxford_flowers"
    labels = [3] * 9 + [1] * 7 + [5] * 6 + [2] * 23 + [3] * 3 + [4] * 5
    for number in range(1, len(labels) + 1):
        touch(where / "jpg" / f"image_{number:05d}.jpg")
    savemat(where / "imagelabels.mat", {"labels": np.array([labels], dtype=np.uint8)})
    names = ["pink primrose", "hard-leaved pocket orchid", "canterbury bells", "sweet pea", "rose"]
    (where / "cat_to_name.json").write_text(json.dumps({str(label): name for label, name in enumerate(names, start=1)}))


def oxford_pets(root):
    where = root / "oxford_pets"
    breeds = ["Abyssinian", "american_bulldog", "Bombay", "great_pyrenees", "yorkshire_terrier"]
    for part, counts in (("trainval", (8, 23, 5, 13, 4)), ("test", (3, 2, 4, 1, 5))):
        rows = []
        for label, (breed, count) in enumerate(zip(breeds, counts), start=1):
            for k in range(count):
                name = f"{breed}_{k + (500 if part == 'test' else 1)}"
                rows.append(f"{name} {label} {1 + label % 2} {label}")
                touch(where / "images" / f"{name}.jpg")
        lines(where / "annotations" / f"{part}.txt", rows)


def stanford_cars(root):
    from scipy.io import savemat

    where = root / "stanford_cars"
    (where / "devkit").mkdir(parents=True)
    names = ["AM General Hummer SUV 2000", "Acura RL Sedan 2012", "Ram C/V Cargo Van Minivan 2012", "smart fortwo 2012"]
    savemat(where / "devkit" / "cars_meta.mat", {"class_names": np.array([names], dtype=object)})
    for part, file, labels in (
        ("train", "devkit/cars_train_annos.mat", [3, 1, 4, 2, 3] * 4 + [1] * 9 + [2] * 18),
        ("test", "cars_test_annos_withlabels.mat", [2, 4, 1, 3, 2, 2]),
    ):
        kinds = [("fname", object), ("class", object)]
        rows = np.empty((1, len(labels)), dtype=kinds)
        for k, label in enumerate(labels):
            rows[0, k] = (f"{k + 1:05d}.jpg", np.array([[label]], dtype=np.uint8))
            touch(where / f"cars_{part}" / f"{k + 1:05d}.jpg")
        savemat(where / file, {"annotations": rows})


def sun397(root):
    where = root / "sun397"
    scenes = ["/a/abbey", "/a/apse/indoor", "/c/car_interior/backseat", "/c/car_interior/frontseat", "/y/yard"]
    lines(where / "ClassName.txt", scenes)
    for part, counts in (("Training_01", (8, 5, 21, 7, 13)), ("Testing_01", (3, 4, 2, 1, 5))):
        rows = []
        for scene, count in zip(scenes, counts):
            for k in range(count):
                rows.append(f"{scene}/sun_{part[:2].lower()}{k:03d}.jpg")
                touch(where / "SUN397" / rows[-1][1:])
        lines(where / f"{part}.txt", rows)


def ucf101(root):
    where = root / "ucf101"
    actions = ["ApplyEyeMakeup", "BabyCrawling", "HandstandPushups", "YoYo"]
    spaced = ["Apply_Eye_Makeup", "Baby_Crawling", "Handstand_Pushups", "Yo_Yo"]
    lines(where / "ucfTrainTestlist" / "classInd.txt", [f"{k + 1} {action}" for k, action in enumerate(actions)])
    for part, counts in (("trainlist01", (8, 25, 5, 13)), ("testlist01", (3, 2, 6, 4))):
        rows = []
        for label, (action, folder, count) in enumerate(zip(actions, spaced, counts), start=1):
            for k in range(count):
                video = f"v_{action.replace('stand', 'Stand')}_g{len(rows):02d}_c{k:02d}"
                rows.append(f"{action}/{video}.avi" + (f" {label}" if part == "trainlist01" else ""))
                touch(where / "UCF-101-midframes" / folder / f"{video}.jpg")
        lines(where / "ucfTrainTestlist" / f"{part}.txt", rows)


WNIDS = dict.fromkeys(("n01440764", "n01443537", "n02012849", "n03773504", "n04008634"), "missile")
WNIDS |= {"n01440764": "tench", "n01443537": "goldfish", "n02012849": "crane bird"}


def imagenet(root):
    where = root / "imagenet"
    lines(where / "classnames.txt", [f"{wnid} {name}" for wnid, name in WNIDS.items()])
    for number, wnid in enumerate(WNIDS):
        for k in range(3 + 5 * number):
            touch(where / "images" / "train" / wnid / f"{wnid}_{k}.JPEG")
        for k in range(2 + number):
            touch(where / "images" / "val" / wnid / f"ILSVRC2012_val_{number}{k}.JPEG")


def _variant(folder, image_folder, names, readme, root):
    where = root / folder
    lines(where / "classnames.txt", [f"{wnid} {name}" for wnid, name in WNIDS.items()])
    for number, name in enumerate(names):
        for k in range(2 + number):
            touch(where / image_folder / name / f"{k}.jpg")
    if readme:
        lines(where / image_folder / "README.txt", ["read me"])


imagenet_a = partial(_variant, "imagenet-adversarial", "imagenet-a", list(WNIDS)[1:4], True)
imagenet_r = partial(_variant, "imagenet-rendition", "imagenet-r", list(WNIDS)[:3], True)
imagenet_sketch = partial(_variant, "imagenet-sketch", "images", list(WNIDS), False)


def imagenetv2(root):
    where = root / "imagenetv2"
    lines(where / "classnames.txt", [f"n{k:08d} name of {k}" for k in range(1000)])
    for label in range(1000):
        touch(where / "imagenetv2-matched-frequency-format-val" / str(label) / f"{label % 7}.jpeg")


# maker, registered name, folder under ROOT, split file
DATA_SETS = {
    "caltech101": (caltech101, "Caltech101", "caltech-101", "split_zhou_Caltech101.json"),
    "caltech256": (caltech256, "Caltech256", "caltech-256", "split_huang_Caltech256.json"),
    "dtd": (dtd, "DescribableTextures", "dtd", "split_zhou_DescribableTextures.json"),
    "eurosat": (eurosat, "EuroSAT", "eurosat", "split_zhou_EuroSAT.json"),
    "fgvc_aircraft": (fgvc_aircraft, "FGVCAircraft", "fgvc_aircraft", None),
    "food101": (food101, "Food101", "food-101", "split_zhou_Food101.json"),
    "imagenet": (imagenet, "ImageNet", "imagenet", None),
    "imagenet_a": (imagenet_a, "ImageNetA", "imagenet-adversarial", None),
    "imagenet_r": (imagenet_r, "ImageNetR", "imagenet-rendition", None),
    "imagenet_sketch": (imagenet_sketch, "ImageNetSketch", "imagenet-sketch", None),
    "imagenetv2": (imagenetv2, "ImageNetV2", "imagenetv2", None),
    "oxford_flowers": (oxford_flowers, "OxfordFlowers", "oxford_flowers", "split_zhou_OxfordFlowers.json"),
    "oxford_pets": (oxford_pets, "OxfordPets", "oxford_pets", "split_zhou_OxfordPets.json"),
    "stanford_cars": (stanford_cars, "StanfordCars", "stanford_cars", "split_zhou_StanfordCars.json"),
    "sun397": (sun397, "SUN397", "sun397", "split_zhou_SUN397.json"),
    "ucf101": (ucf101, "UCF101", "ucf101", "split_zhou_UCF101.json"),
}
SHOTS = (-1, 1, 4, 16)
HALVES = ("all", "base", "new")
SEED = 2
