"""The kept list of ImageNet's images: used only while the folders are what they were, and never other than a new one."""

import contextlib
import json
import os
import pickle
import random
import shutil
from pathlib import Path

import numpy as np
import pytest
from dassl.data.datasets import Datum

from modprompt.data import listing_file
from modprompt.data.reader import FamilyDataset
from modprompt.data.split_files import Storage
from modprompt.errors import UserError
from modprompt.io.arrays import arrays_hash, read_arrays, write_arrays
from modprompt.io.records import KEY, sealed
from tests.modprompt.data import trees
from tests.modprompt.data.at_once import lists_at_once
from tests.modprompt.data.test_held_out import read as read_to_choose
from tests.modprompt.data.test_readers import facts, read

FOREVER = 10**19
TRAIN = "images/train/n02012849"


@pytest.fixture
def root(tmp_path):
    trees.imagenet(tmp_path / "data")
    return tmp_path / "data"


@pytest.fixture
def settled(root, monkeypatch):
    """A tree whose folders count as unchanged for long."""
    monkeypatch.setattr(listing_file, "SETTLED_NS", -FOREVER)
    return root


def kept(root):
    return root / "imagenet" / "split_fewshot" / "listing.npz"


def everything(root, shots=2, half="all", seed=1):
    dataset = read("ImageNet", root, shots, half, seed=seed)
    lists = [facts(items, root) for items in (dataset.train_x, dataset.val, dataset.test)]
    return lists, dataset.split_facts, dataset.few_shot_hash, dataset.record_files


def anew(root, **how):
    """What a run has that finds neither listing nor few-shot lists."""
    shutil.rmtree(root / "imagenet" / "split_fewshot", ignore_errors=True)
    return everything(root, **how)


def change(root, folder=TRAIN):
    """Another time of a folder, however coarse the clock is."""
    path = root / "imagenet" / folder
    now = path.stat()
    os.utime(path, ns=(now.st_atime_ns, now.st_mtime_ns + 10**6))


def no_listing(*_):
    raise AssertionError("a folder was listed")


@pytest.mark.parametrize(("shots", "half"), [(2, "all"), (16, "new"), (1, "base"), (-1, "all")])
def test_kept_listing_gives_the_same_lists_without_listing(settled, monkeypatch, capsys, shots, half):
    first = anew(settled, shots=shots, half=half)
    said = capsys.readouterr().out
    assert f"Saved the list of images to {kept(settled)}" in said
    monkeypatch.setattr("modprompt.data.folder_images.file_names", no_listing)
    assert everything(settled, shots=shots, half=half) == first
    said = capsys.readouterr().out
    assert f"Reading the list of images from {kept(settled)}" in said
    assert "anew" not in said


def test_other_seed_draws_from_the_kept_listing_what_it_draws_from_a_new_one(settled, monkeypatch):
    drawn = anew(settled, seed=3)[0]
    anew(settled, seed=1)
    monkeypatch.setattr("modprompt.data.folder_images.file_names", no_listing)
    assert everything(settled, seed=3)[0] == drawn


def test_training_names_are_not_even_read_where_the_few_shot_list_is_there(settled, monkeypatch):
    first, asked, plain = anew(settled), [], listing_file.read_arrays
    monkeypatch.setattr(listing_file, "read_arrays", lambda path, *names: asked.extend(names) or plain(path, *names))
    assert everything(settled) == first
    assert sorted(asked) == ["facts", "train_runs", "val_runs", "val_text"]


def test_few_shot_list_keeps_the_hash_of_the_listing(settled):
    anew(settled)
    record = json.loads((settled / "imagenet/split_fewshot/shot_2-seed_1.json").read_text())
    content = json.loads(read_arrays(kept(settled), "facts")["facts"].tobytes())
    assert record["split"] == content["facts"]["pools"]


def test_few_shot_list_of_a_run_without_a_listing_is_used(settled, capsys):
    first = anew(settled)
    kept(settled).unlink()
    random.seed(9)
    capsys.readouterr()
    for _ in range(2):
        assert everything(settled) == first
        assert "Loading the few-shot lists of" in capsys.readouterr().out


def added(folder):
    (folder / "n02012849_new.JPEG").touch()


def removed(folder):
    (folder / "n02012849_3.JPEG").unlink()


def renamed(folder):
    (folder / "n02012849_3.JPEG").rename(folder / "n02012849_new.JPEG")


@pytest.mark.parametrize(
    ("how", "said"),
    [
        (added, "has 14 files, 13 before (1 new, 0 gone)"),
        (removed, "has 12 files, 13 before (0 new, 1 gone)"),
        (renamed, "has 13 files, 13 before (1 new, 1 gone)"),
    ],
)
def test_change_in_a_folder_is_noticed_and_told(settled, capsys, how, said):
    anew(settled, shots=-1)
    how(settled / "imagenet" / TRAIN)
    change(settled)
    capsys.readouterr()
    now = everything(settled, shots=-1)
    lines = capsys.readouterr().out
    assert f"The images were listed anew: {TRAIN} has changed since it was listed, or just before" in lines
    assert f"; train/n02012849 {said}" in lines
    assert everything(settled, shots=-1) == now
    assert "Reading the list" in capsys.readouterr().out
    assert anew(settled, shots=-1) == now


def test_few_shot_list_of_other_images_is_drawn_anew(settled, capsys):
    anew(settled)
    removed(settled / "imagenet" / TRAIN)
    change(settled)
    capsys.readouterr()
    now = everything(settled)
    assert "does not belong to the present split: not used" in capsys.readouterr().out
    assert anew(settled) == now


def test_changes_in_several_folders_are_counted(settled, capsys):
    anew(settled)
    for name in ("n02012849", "n04008634"):
        added(settled / "imagenet/images/train" / name)
        change(settled, f"images/train/{name}")
    capsys.readouterr()
    everything(settled)
    said = capsys.readouterr().out
    assert f"{TRAIN} and 1 more have changed" in said
    assert "(1 new, 0 gone), and 1 more folders have others" in said


@pytest.mark.parametrize("part", ["train", "val"])
def test_touched_folder_is_listed_anew_and_the_file_renewed(settled, capsys, part):
    first = anew(settled)
    change(settled, f"images/{part}/n02012849")
    capsys.readouterr()
    assert everything(settled) == first
    said = capsys.readouterr().out
    assert f"images/{part}/n02012849 has changed since it was listed, or just before; the files are the same" in said
    assert "Saved the list of images" in said
    assert everything(settled) == first
    assert "anew" not in capsys.readouterr().out


def test_class_folders_that_come_and_go_are_noticed(settled, capsys):
    first = anew(settled, shots=-1)
    folder = settled / "imagenet/images/train/n09999999"
    trees.touch(folder / "a.JPEG")
    trees.lines(settled / "imagenet/classnames.txt", [*(f"{k} {v}" for k, v in trees.WNIDS.items()), "n09999999 new"])
    capsys.readouterr()
    assert len(everything(settled, shots=-1)[0][0]) == len(first[0][0]) + 1
    assert "images/train/n09999999 and 1 more have changed" in capsys.readouterr().out
    shutil.rmtree(folder)
    assert everything(settled, shots=-1)[0] == first[0]
    assert "train/n09999999 has 0 files, 1 before" in capsys.readouterr().out


def test_class_folder_that_goes_is_noticed_even_if_its_time_was_not_kept(root, monkeypatch):
    trees.touch(root / "imagenet/images/val/n01440764/only.JPEG")
    anew(root, shots=-1)
    shutil.rmtree(root / "imagenet/images/val/n01443537")
    monkeypatch.setattr(listing_file, "SETTLED_NS", -FOREVER)
    assert sorted({label for _, label, _ in everything(root, shots=-1)[0][2]}) == [0, 2, 3, 4]


def test_other_class_names_count_though_the_folders_are_the_same(settled):
    before = anew(settled)
    trees.lines(settled / "imagenet/classnames.txt", [f"{wnid} the {name}" for wnid, name in trees.WNIDS.items()])
    now = everything(settled)
    assert now[1]["hash"] != before[1]["hash"]
    assert now[0][0][0][2] == "the tench"
    assert everything(settled) == now == anew(settled)


def test_listing_is_never_used_for_a_folder_that_had_just_changed(root, capsys):
    first = anew(root)
    added(root / "imagenet" / TRAIN)
    capsys.readouterr()
    assert everything(root, shots=-1) != first
    assert "have changed since it was listed, or just before; train/n02012849 has 14 files" in capsys.readouterr().out


def test_change_within_a_tick_of_the_clock_is_seen(root, capsys):
    """Neither time of the folder tells that a file came after it was listed."""
    folder = root / "imagenet" / TRAIN
    before = anew(root, shots=-1)
    was = folder.stat()
    added(folder)
    os.utime(folder, ns=(was.st_atime_ns, was.st_mtime_ns))
    after = everything(root, shots=-1)
    assert len(after[0][0]) == len(before[0][0]) + 1


def test_time_set_back_does_not_hide_a_change(settled):
    """As by tar and rsync, which give a folder the time that it had elsewhere."""
    before = anew(settled, shots=-1)
    folder = settled / "imagenet" / TRAIN
    was = folder.stat()
    while folder.stat().st_ctime_ns == was.st_ctime_ns:  # until the clock has moved
        (folder / "n02012849_new.JPEG").unlink(missing_ok=True)
        added(folder)
    os.utime(folder, ns=(was.st_atime_ns, was.st_mtime_ns))
    assert len(everything(settled, shots=-1)[0][0]) == len(before[0][0]) + 1


def test_disk_without_times_of_folders_is_listed_at_every_start(settled, monkeypatch, capsys):
    monkeypatch.setattr(listing_file, "_stamp", lambda path: (0, 0, 4096) if Path(path).exists() else None)
    first = anew(settled)
    capsys.readouterr()
    assert everything(settled) == first
    assert "listed anew" in capsys.readouterr().out


def test_clock_of_the_disk_counts_if_it_is_behind(root, monkeypatch):
    storage = Storage(root / "imagenet")
    with storage.lock():
        monkeypatch.setattr("time.time_ns", lambda: FOREVER)
        assert storage.now_ns() < FOREVER
        monkeypatch.setattr("time.time_ns", lambda: 7)
        assert storage.now_ns() == 7
        monkeypatch.undo()
        monkeypatch.setattr("os.utime", lambda path: (_ for _ in ()).throw(PermissionError()))
        assert storage.now_ns() > 10**18


def test_moved_root_keeps_its_listing(settled, monkeypatch):
    first = anew(settled)
    moved = settled.rename(settled.with_name("moved"))
    monkeypatch.setattr("modprompt.data.folder_images.file_names", no_listing)
    assert everything(moved)[:3] == first[:3]
    assert read("ImageNet", moved, 2, seed=1).test[0].impath.startswith(f"{moved}/imagenet/images/val/")


def test_two_roots_have_a_listing_each(settled, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(settled, other)
    removed(other / "imagenet" / TRAIN)
    lists = [everything(where, shots=-1)[0][0] for where in (settled, other, settled, other)]
    assert lists[0] == lists[2] != lists[1] == lists[3]


def test_copied_root_is_listed_for_itself(settled, tmp_path, capsys):
    first = anew(settled)
    other = tmp_path / "other"
    shutil.copytree(settled, other)
    removed(other / "imagenet" / TRAIN)
    capsys.readouterr()
    assert everything(other) != first
    assert "listed anew" in capsys.readouterr().out


def test_read_only_data_are_listed_into_the_cache(settled, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with monkeypatch.context() as patch:
        patch.setattr(os, "access", lambda path, mode: False)
        first = everything(settled)
        (found,) = (tmp_path / "cache").rglob("listing.npz")
        assert f"Saved the list of images to {found}" in capsys.readouterr().out
        patch.setattr("modprompt.data.folder_images.file_names", no_listing)
        assert everything(settled)[0] == first[0]
    assert not kept(settled).exists()


def test_full_disk_is_told_and_the_run_goes_on(settled, monkeypatch, capsys):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(listing_file, "write_arrays", full)
    everything(settled)
    said = capsys.readouterr().out
    assert f"cannot write {kept(settled)} (No space left on device): the images are listed at every start" in said


def test_interrupted_writing_leaves_the_file_of_before(settled, monkeypatch):
    first = anew(settled)
    whole = kept(settled).read_bytes()
    change(settled)

    def interrupted(file, **_):
        file.write(whole[:1000])
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(np, "savez_compressed", interrupted)
        with pytest.raises(KeyboardInterrupt):
            everything(settled)
    assert kept(settled).read_bytes() == whole
    assert not list(settled.rglob("*.part"))
    assert everything(settled) == first


@pytest.mark.slow
def test_ten_processes_at_once_have_the_same_lists(root):
    lists = lists_at_once("ImageNet", root, 2, processes=10)
    assert all(one == lists[0] for one in lists)
    left = sorted(path.name for path in kept(root).parent.iterdir())
    assert left == [".lock", "checked_images.json", "listing.npz", "shot_2-seed_1.json"]


def list_another_image(root):
    """What another run does behind whose start a test image has come."""
    trees.touch(root / "imagenet/images/val/n02012849/new.JPEG")
    change(root, "images/val/n02012849")
    return everything(root)


def test_run_that_lists_anew_as_soon_as_it_may_takes_no_names_from_another(settled, monkeypatch):
    first, others, plain = anew(settled), [], Storage.lock

    @contextlib.contextmanager
    def until_another_has_it(storage):
        with plain(storage):
            yield
        if not others:
            others.append(None)
            others[0] = list_another_image(settled)

    monkeypatch.setattr(Storage, "lock", until_another_has_it)
    assert everything(settled) == first
    assert everything(settled) == others[0] != first


def test_file_that_is_replaced_where_there_are_no_locks_is_not_called_damaged(settled, monkeypatch, capsys):
    anew(settled)
    others, plain = [], FamilyDataset._check_labels

    def after_another_run(dataset, *lists):
        if not others:
            others.append(None)
            others[0] = list_another_image(settled)
        plain(dataset, *lists)

    monkeypatch.setattr(Storage, "lock", lambda storage: contextlib.nullcontext())
    monkeypatch.setattr(FamilyDataset, "_check_labels", after_another_run)
    with pytest.raises(UserError, match=r"listing.npz belongs to other images by now: start again$"):
        everything(settled)
    assert "listing.npz was replaced while it was read: the images are listed anew" in capsys.readouterr().out
    assert everything(settled) == others[0]
    assert "Reading the list of images" in capsys.readouterr().out


def resealed(path, spoil, version=1):
    """The file with its content changed and sealed again, as whoever wants to deceive would do it."""
    arrays = read_arrays(path)
    content = json.loads(arrays.pop("facts").tobytes())
    spoil(content, arrays)
    content["arrays"] = {name: arrays_hash(name, array) for name, array in arrays.items()}
    content.pop(KEY)
    record = json.dumps(sealed(content, version)).encode()
    write_arrays(path, facts=np.frombuffer(record, np.uint8), **arrays)


def text(name):
    return lambda content, arrays: arrays.update(val_text=np.frombuffer(name + arrays["val_text"].tobytes(), np.uint8))


SPOILT = {
    "a folder elsewhere": lambda content, arrays: content["folders"]["val"].__setitem__(0, "../../secret"),
    "no facts": lambda content, arrays: content.pop("facts"),
    "other facts": lambda content, arrays: content["facts"].update(more="x"),
    "no folders": lambda content, arrays: content.update(folders=[]),
    "no times": lambda content, arrays: content.update(stamps=[1]),
    "runs of other folders": lambda content, arrays: arrays["val_runs"].__iadd__(1000),
    "runs as text": lambda content, arrays: arrays.update(val_runs=np.array("x")),
}


@pytest.mark.parametrize("name", list(SPOILT))
def test_file_that_was_made_to_deceive_is_not_used(settled, capsys, name):
    first = anew(settled)
    resealed(kept(settled), SPOILT[name])
    capsys.readouterr()
    assert everything(settled) == first
    assert "anew" in capsys.readouterr().out


def test_file_of_another_version_is_not_used(settled, capsys):
    first = anew(settled)
    resealed(kept(settled), lambda content, arrays: None, version=2)
    capsys.readouterr()
    assert everything(settled) == first
    assert "was written by another version of modprompt: the images are listed anew" in capsys.readouterr().out


@pytest.mark.parametrize("name", [b"../../secret\0", b".hidden\0", b"one more\0"])
def test_names_that_lead_elsewhere_are_not_followed(settled, name, capsys):
    first = anew(settled)
    resealed(kept(settled), text(name))
    with pytest.raises(
        UserError, match="listing.npz was damaged and does not fit the images that are there: start again"
    ):
        everything(settled)
    assert "listing.npz is damaged" in capsys.readouterr().out
    assert everything(settled) == first


@pytest.mark.parametrize("final", ["last_step", "best_val"])
def test_images_to_choose_by_are_the_same(settled, final):
    def chosen():
        dataset = read_to_choose(settled, final=final)
        return facts(dataset.train_x, settled), facts(dataset.val, settled), dataset.selected_on

    first = chosen()
    assert chosen() == first


def pickled(path, **parts):
    path.write_bytes(pickle.dumps({part: [Datum(*row) for row in rows] for part, rows in parts.items()}))


def rows(items):
    return [(item.impath, item.label, 0, item.classname) for item in items]


def test_order_of_the_familys_pickle_is_kept_without_reading_it(settled, monkeypatch, capsys):
    plain = read("ImageNet", settled)
    path = settled / "imagenet/preprocessed.pkl"
    mixed = random.Random(2).sample(rows(plain.train_x), len(plain.train_x))
    pickled(path, train=mixed, test=rows(plain.test))
    capsys.readouterr()
    first = everything(settled, shots=-1)
    assert [name for name, *_ in first[0][0]] == [os.path.relpath(row[0], settled) for row in mixed]
    said = capsys.readouterr().out
    assert "imagenet/preprocessed.pkl has changed" not in said
    assert "preprocessed.pkl has changed since it was listed" in said
    assert f"Images in the order of {path}" in said
    drawn = everything(settled, shots=2)
    with monkeypatch.context() as patch:
        patch.setattr("modprompt.data.readers.imagenet.read_family_pickle", no_listing)
        assert everything(settled, shots=-1) == first
        assert everything(settled, shots=2) == drawn
    assert f"Images in the order of {path}" in capsys.readouterr().out
    assert anew(settled, shots=2) == drawn


@pytest.mark.parametrize("fault", ["other images", "damaged"])
def test_familys_pickle_that_changes_is_noticed(settled, capsys, fault):
    plain = read("ImageNet", settled)
    path = settled / "imagenet/preprocessed.pkl"
    pickled(path, train=rows(plain.train_x[::-1]), test=rows(plain.test))
    turned = everything(settled, shots=-1)
    if fault == "damaged":
        path.write_bytes(b"nothing")
    else:
        pickled(path, train=rows(plain.train_x[1:]), test=rows(plain.test))
    for _ in range(2):
        assert everything(settled, shots=-1)[0] != turned[0]
        assert "preprocessed.pkl" in capsys.readouterr().out
    path.unlink()
    assert everything(settled, shots=-1)[0][0] == facts(plain.train_x, settled)


@pytest.mark.parametrize("agrees", [True, False])
def test_familys_few_shot_list_is_checked_without_the_training_names(settled, monkeypatch, capsys, agrees):
    first = anew(settled)
    folder = kept(settled).parent
    dataset = read("ImageNet", settled, 2, seed=1)
    drawn = rows(dataset.train_x)
    if not agrees:
        drawn[0] = (drawn[0][0], 3, 0, "missile")
    (folder / "shot_2-seed_1.json").unlink()
    pickled(folder / "shot_2-seed_1.pkl", train=drawn)
    asked, plain = [], listing_file.read_arrays
    monkeypatch.setattr(listing_file, "read_arrays", lambda path, *names: asked.extend(names) or plain(path, *names))
    capsys.readouterr()
    assert everything(settled)[0] == first[0]
    assert ("train_text" in asked) is not agrees
    assert ("does not belong to the present split" in capsys.readouterr().out) is not agrees
