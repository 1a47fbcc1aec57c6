import os
import random
import shutil
from collections import namedtuple
from types import SimpleNamespace

import pytest

from modprompt.data.fewshot import hold_out
from modprompt.data.reader_facts import own_validation
from modprompt.data.selection import facts_of
from modprompt.io import images as runs

Item = namedtuple("Item", "impath label classname")


def make(root, sizes=(3, 2)):
    """Items with files below a folder: `sizes` images of labels 0, 1, ..."""
    items = []
    for label, size in enumerate(sizes):
        for number in range(size):
            path = root / f"class{label}" / f"{number}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(bytes([label, number, 7]))
            items.append(Item(str(path), label, f"name {label}"))
    return items


def cfg(shots=4, final="last_step", split="test"):
    data, test = SimpleNamespace(NAME="Some", NUM_SHOTS=shots), SimpleNamespace(FINAL_MODEL=final, SPLIT=split)
    return SimpleNamespace(DATASET=data, TEST=test)


class Lists:
    def __init__(self, train_x, val, test, **more):
        self.train_x, self.val, self.test = train_x, val, test
        self.__dict__.update(more)


def test_hash_is_the_same_wherever_the_images_lie(tmp_path):
    first = make(tmp_path / "a" / "images")
    shutil.copytree(tmp_path / "a", tmp_path / "elsewhere" / "deeper")
    moved = [
        one._replace(impath=one.impath.replace(str(tmp_path / "a"), str(tmp_path / "elsewhere" / "deeper")))
        for one in first
    ]
    assert runs.images_hash(first) == runs.images_hash(moved)
    roots = [str(tmp_path / "a"), str(tmp_path / "elsewhere" / "deeper")]
    hashes = [runs.images_hash(one, None, root=root) for one, root in zip((first, moved), roots)]
    assert hashes[0] == hashes[1] != runs.images_hash(first, root=roots[0])
    assert hashes[0].startswith("2:")


@pytest.mark.parametrize("change", ["size", "folder", "label", "order", "list"])
def test_hash_tells_lists_apart(tmp_path, change):
    items = make(tmp_path)
    second = items[:2]
    before = runs.images_hash(items, second, root=str(tmp_path))
    if change == "size":
        (tmp_path / "class1" / "0.jpg").write_bytes(b"longer")
    elif change == "folder":
        (tmp_path / "class0").rename(tmp_path / "other")
        items = [one._replace(impath=one.impath.replace("class0", "other")) for one in items]
        second = items[:2]
    elif change == "label":
        items[0] = items[0]._replace(label=1)
    elif change == "order":
        items = items[::-1]
    else:
        items, second = items[:-1], [items[-1], *second]
    assert runs.images_hash(items, second, root=str(tmp_path)) != before


def test_few_shot_images_are_hashed_by_content_and_others_by_size(tmp_path):
    train, test = make(tmp_path / "train"), make(tmp_path / "test")
    hashes = []
    for shots in (4, -1):
        for where, content in (("train", b"abc"), ("train", b"abd"), ("test", b"xyz")):
            (tmp_path / where / "class0" / "0.jpg").write_bytes(content)
            hashes.append(facts_of(Lists(train, None, test), cfg(shots))["images_hash"])
    assert hashes[0] != hashes[1] == hashes[2]
    assert hashes[3] == hashes[4] == hashes[5]


def test_own_validation_images_are_none_of_the_test_images(tmp_path):
    items = make(tmp_path)
    again = [Item(*item) for item in items]
    assert own_validation(Lists([], items[:2], items[2:]))
    for val in (None, [], items, again, again[:2]):
        assert not own_validation(Lists([], val, items))
    assert not own_validation(Lists([], items[:2], items[2:], own_validation=False))


@pytest.mark.parametrize(
    ("val", "final", "split", "known", "expected"),
    [
        ("own", "last_step", "test", None, ""),
        ("own", "best_val", "test", None, "validation"),
        ("own", "last_step", "val", None, "validation"),
        ("test", "best_val", "test", None, "test"),
        ("none", "last_step", "val", None, "test"),
        ("own", "best_val", "test", "held out", "held out"),
        ("own", "last_step", "test", "held out", ""),
    ],
)
def test_what_a_choice_is_made_on(tmp_path, val, final, split, known, expected):
    items = make(tmp_path)
    lists = Lists(items, {"own": items[:2], "test": items[2:], "none": None}[val], items[2:])
    if known:
        lists.selected_on = known
    assert facts_of(lists, cfg(final=final, split=split))["selected_on"] == expected


def test_held_out_images_are_unused_and_repeatable_and_draw_nothing_else(tmp_path):
    pool = make(tmp_path, (6, 3, 2))
    taken = [pool[0], pool[5], pool[6], pool[9], pool[10]]
    random.seed(3)
    state = random.getstate()
    held = hold_out(pool, taken, 2, seed=1)
    assert random.getstate() == state
    assert [one.label for one in held] == [0, 0, 1, 1]  # label 2 has no more
    assert not set(held) & set(taken)
    assert held == hold_out(pool, taken[::-1], 2, seed=1)
    assert [one.label for one in hold_out(pool, taken, {0: 1, 1: 2}, seed=1)] == [0, 1, 1]
    assert len({tuple(hold_out(pool, taken, 2, seed)) for seed in range(8)}) > 3


def test_facts_of_a_hosts_data_set_claim_nothing(tmp_path):
    items = make(tmp_path)
    facts = facts_of(Lists(items, None, items[:2]), cfg())
    assert facts["split"] == {"name": "Some", "status": "not known", "hash": ""}
    assert facts["few_shot"] == {"hash": ""}
    assert os.sep not in facts["images_hash"]


def test_a_folder_in_which_nothing_changed_since_a_minute_before_is_as_it_was_seen(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "loop").symlink_to(tmp_path)
    (tmp_path / "a" / "x.png").write_bytes(b"1")
    newest, seen = runs.newest_change_ns(str(tmp_path)), runs.image_files({}, str(tmp_path))
    late = {**seen, "seen_ns": newest + 2 * 60 * 10**9}
    assert runs.unchanged_since(late, str(tmp_path), newest)
    assert not runs.unchanged_since(seen, str(tmp_path), newest)  # it was seen too soon to tell
    assert not runs.unchanged_since(late, str(tmp_path / "a"), newest)  # another folder
    os.utime(tmp_path / "a" / "x.png", ns=(1, 1))
    assert runs.newest_change_ns(str(tmp_path)) > newest
