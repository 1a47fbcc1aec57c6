"""The shared rules of the readers against golden vectors, which were obtained from the reference implementation."""

import json
import random
from collections import namedtuple

import pytest

from modprompt.data import published
from modprompt.data.fewshot import FewShotCache, fewer_than, sample
from modprompt.data.images import Image
from modprompt.data.splits import read_split, split_folders
from tests.conftest import one_line
from tests.modprompt.data import trees

Item = namedtuple("Item", "id label")

TRAIN = [Item(i, label) for i, label in enumerate([2] * 6 + [0] * 3 + [1] * 30 + [2] * 2 + [0])]
VAL = [Item(i, label) for i, label in enumerate([1] * 5 + [2] * 2 + [0] * 7)]
GOLDEN = {
    (1, 4): ("2 4 0 40 6 7 8 41 29 21 34 15", "0 3 4 1 5 6 10 11 7 13"),
    (1, 16): ("0 1 2 3 4 5 39 40 6 7 8 41 13 27 36 34 33 11 17 12 24 23 30 21 15 31 28 9", "3 4 2 0 5 6 12 10 9 8"),
    (2, 8): ("0 40 39 2 1 4 3 5 6 7 8 41 28 15 38 10 27 30 14 22", "3 2 4 1 5 6 11 9 7 13"),
    (3, 4): ("3 4 39 1 8 41 7 6 28 9 38 35", "3 2 4 0 5 6 8 12 10 11"),
}


@pytest.mark.parametrize(("seed", "shots"), list(GOLDEN))
def test_few_shot_golden_vectors(seed, shots):
    random.seed(seed)
    train, val = sample(TRAIN, shots), sample(VAL, min(shots, 4))
    ids = tuple(" ".join(str(item.id) for item in items) for items in (train, val))
    assert ids == GOLDEN[seed, shots]


def test_classes_with_fewer_images_than_shots_are_named_or_counted():
    images = [Image("", label, ("zero", "one", "two")[label]) for label in [2, 0, 1, 2, 0, 2]]  # 2, 1 and 3 images
    assert fewer_than(2, images) == "class one has 1 of 2 images"
    assert fewer_than(4, images) == "3 of 3 classes have fewer than 4 images (class one has 1)"
    assert not any(fewer_than(shots, images) for shots in (-1, 0, 1))
    assert not fewer_than(4, [])


@pytest.fixture
def pictures(tmp_path):
    return [Image(str(tmp_path / f"{k % 5}" / f"{k}.jpg"), k % 5, f"class_{k % 5}") for k in range(20)]


@pytest.mark.parametrize("row", [["a"], ["a", 1.5, "cat"], ["a", True, "cat"], ["a", 0, None], [7, 0, "cat"], None, 7])
def test_row_of_a_split_of_other_types_is_one_line(tmp_path, row):
    (tmp_path / "s.json").write_text(json.dumps({"train": [row], "val": [], "test": []}))
    with one_line("s.json is not a complete split file"):
        read_split(tmp_path / "s.json", tmp_path)


def cache(tmp_path, seed=1, shots=2):
    return FewShotCache([tmp_path / "split_fewshot"], tmp_path, shots, seed)


def draw(pictures, tmp_path, seed=1, val=None):
    random.seed(seed)
    return cache(tmp_path, seed).lists(pictures[:15], pictures[15:] if val is None else val)


def test_second_run_reads_the_cache_without_a_draw_if_the_split_is_the_same(pictures, tmp_path, capsys):
    first = draw(pictures, tmp_path)
    random.seed(77)
    state = random.getstate()
    assert cache(tmp_path).lists(pictures[:15], pictures[15:]) == first
    assert random.getstate() == state
    assert "Loading the few-shot lists" in capsys.readouterr().out
    assert pictures[15] not in draw(pictures, tmp_path, val=pictures[16:])[1]
    assert "was made for a different split" in capsys.readouterr().out


@pytest.mark.parametrize("wrong", [["gone.jpg"], [["0/0.jpg"]], [], None])
def test_cache_of_the_right_key_but_wrong_content_is_drawn_anew(pictures, tmp_path, wrong):
    first = draw(pictures, tmp_path)
    path = tmp_path / "split_fewshot" / "shot_2-seed_1.json"
    content = json.loads(path.read_text())
    del content["modprompt"]
    path.write_text(json.dumps({**content, "train": wrong}))
    assert draw(pictures, tmp_path) == first


def test_what_is_no_image_enters_no_split_of_ours(tmp_path, capsys):
    trees.folders(tmp_path, {"a": 4, "b": 5})
    trees.touch(tmp_path / "a" / "Thumbs.db")
    split = split_folders(tmp_path)
    assert {image.impath.rpartition(".")[2] for part in split for image in part} == {"jpg"}
    assert [len(part) for part in split] == [2 + 2, 1 + 1, 1 + 2]
    assert (
        "a contains 1 file without a supported image extension. This file is skipped, for example 'Thumbs.db'"
        in capsys.readouterr().out
    )


@pytest.mark.parametrize(
    ("name", "digest", "ours", "status"),
    [
        ("EuroSAT", published.SPLIT_SHA256["EuroSAT"], False, "published"),
        ("EuroSAT", published.SPLIT_SHA256["OxfordPets"], False, "not known"),
        ("EuroSAT", "0" * 64, True, "ours"),
        ("Caltech256", "0" * 64, False, "not known"),
    ],
)
def test_status_by_the_hash_of_a_split_file(name, digest, ours, status):
    assert published.split_status(name, digest, ours, few_shot=None) == status


def test_status_by_few_shot_lists_where_no_hash_of_the_file_is_known():
    known = published.FEW_SHOT_SHA256["Food101"]
    lists = {(16, seed): known[seed] for seed in (1, 2, 3)}
    for wrong in (None, *lists):
        drawn = {**lists, wrong: "another"}
        status = published.split_status("Food101", "0" * 64, True, lambda shots, seed: drawn[shots, seed])  # noqa: B023
        assert status == ("ours" if wrong else "published"), wrong
