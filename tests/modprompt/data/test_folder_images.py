"""Images of class folders as a compact list against the plain list of the same images."""

import random
from collections import Counter

import numpy as np
import pytest

from modprompt.data.fewshot import fingerprint, sample
from modprompt.data.folder_images import Folder, FolderImages, list_folders, pack, require_runs, require_text
from modprompt.data.images import Image
from modprompt.errors import UserError
from modprompt.io.images import by_label

FOLDERS = [
    Folder("train/b", 1, "bee"),
    Folder("train/a", 0, "ape"),
    Folder("train/none", 3, ""),
    Folder("x/c", 2, "cat"),
]
NAMES = [(0, f"b{i}") for i in range(30)] + [(1, "ä.jpg"), (0, "late"), (3, "c \udcff"), (3, "c2"), (1, "a2")]


@pytest.fixture
def images(tmp_path):
    packed = pack(NAMES)
    return FolderImages(tmp_path, FOLDERS, packed.runs, lambda: packed.text)


@pytest.fixture
def plain(tmp_path):
    return [
        Image(str(tmp_path / FOLDERS[place].name / name), FOLDERS[place].label, FOLDERS[place].classname)
        for place, name in NAMES
    ]


def test_items_are_those_of_a_plain_list(images, plain):
    assert list(images) == plain
    assert len(images) == len(plain)
    assert [images[k] for k in range(len(plain))] == plain
    assert images[-1] == plain[-1]
    assert list(images[3:33:2]) == plain[3:33:2]
    assert list(images[3:33][4:6]) == plain[7:9]
    with pytest.raises(IndexError):
        images[len(plain)]


def test_groups_and_sizes_are_those_of_a_plain_list(images, plain):
    groups = {label: list(group) for label, group in images.groups().items()}
    assert groups == by_label(plain)
    assert list(groups) == list(by_label(plain))
    assert images.sizes() == Counter(image.label for image in plain)


@pytest.mark.parametrize("shots", [1, 2, 16, 31, 99])
def test_draws_are_those_from_a_plain_list(images, plain, shots):
    for seed in range(5):
        assert sample(images, shots, random.Random(seed)) == sample(plain, shots, random.Random(seed))


def test_fingerprint_is_that_of_a_plain_list(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for k in range(3):
            (tmp_path / name / f"{k}.jpg").touch()
    images = list_folders(tmp_path, [Folder("b", 1, "bee"), Folder("a", 0, "ape")])
    assert fingerprint([images], tmp_path) == fingerprint([list(images)], tmp_path)


def test_image_is_found_if_the_disk_has_it(tmp_path):
    (tmp_path / "train" / "a" / "deep").mkdir(parents=True)
    for name in ("here", ".hidden", "deep/er"):
        (tmp_path / "train" / "a" / name).touch()
    images = list_folders(tmp_path, [Folder("train/a", 7, "ape")])
    assert images.find("train/a/here") == Image(str(tmp_path / "train/a/here"), 7, "ape")
    for name in ("train/a/gone", "train/a/.hidden", "train/a/deep", "train/a/deep/er", "here", "train/b/here", ""):
        assert images.find(name) is None


def test_other_order_of_the_same_images(images):
    names = sorted(images.names(), reverse=True)
    turned = images.in_order_of(names)
    assert list(turned.names()) == names
    assert sorted(turned) == sorted(images)


def test_names_are_read_once_and_only_when_needed(tmp_path):
    packed, asked = pack(NAMES), []
    images = FolderImages(tmp_path, FOLDERS, packed.runs, lambda: asked.append(1) or packed.text)
    assert (len(images), sum(images.sizes().values()), images.find("train/a/x")) == (len(NAMES), len(NAMES), None)
    assert asked == []
    assert list(images) == list(images)
    assert asked == [1]


def test_hidden_files_and_folders_without_files_are_left_out(tmp_path):
    for name in ("a", "empty"):
        (tmp_path / name).mkdir()
    (tmp_path / "a" / ".hidden").touch()
    (tmp_path / "a" / "x.jpg").touch()
    images = list_folders(tmp_path, [Folder("empty", 0, ""), Folder("a", 1, "")])
    assert images.by_folder() == {"a": ["x.jpg"]}
    assert list(list_folders(tmp_path, [Folder("empty", 0, "")])) == []


def test_folder_that_cannot_be_listed_is_named(tmp_path):
    with pytest.raises(UserError, match="cannot list .*gone"):
        list_folders(tmp_path, [Folder("gone", 0, "")])


@pytest.mark.parametrize(
    ("runs", "text"),
    [
        ([[0, 2]], b"a\0"),
        ([[0, 1]], b"a\0b\0"),
        ([[0, 1]], b"a"),
        ([[0, 1]], b"a\0b"),
        ([[0, 1]], b"../a\0"),
        ([[0, 1]], b"..\0"),
        ([[0, 2]], b"a\0.b\0"),
        ([[0, 2]], b"a\0\0"),
        ([[0, 1]], b"\0"),
    ],
)
def test_names_that_are_no_names_of_files_are_refused(runs, text):
    with pytest.raises(ValueError, match="name"):
        require_text(text, np.array(runs, np.int32))


@pytest.mark.parametrize("runs", [[[2, 1]], [[-1, 1]], [[0, 0]], [[0, -3]], [[0]], [0, 1], [[0.0, 1.0]]])
def test_runs_of_other_folders_are_refused(runs):
    array = np.array(runs)
    with pytest.raises(ValueError, match="runs of files"):
        require_runs(array.astype(np.int32) if array.dtype.kind == "i" else array, 2)
    require_runs(np.zeros((0, 2), np.int32), 0)
    require_text(b"", np.zeros((0, 2), np.int32))
