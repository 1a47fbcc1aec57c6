import os
from pathlib import Path

import pytest
from dassl.config import get_cfg_default
from PIL import Image

import modprompt.data.readers.image_folder  # noqa: F401 - registers
from modprompt.data.conflicts import trains_on_validation
from modprompt.errors import UserError
from modprompt.io.settings import TRAIN_ON_VAL
from tests.conftest import one_line
from tests.modprompt.data.test_readers import read
from tests.modprompt.data.trees import folders, lines, pictures


def test_class_folders_are_split_and_the_split_is_kept(tmp_path, capsys):
    pictures(tmp_path, {"cat": 10, "dog": 7, "dog/more": 3})
    (tmp_path / "cat" / "image_0000.png").rename(tmp_path / "cat" / "a.JFIF")
    (tmp_path / "dog" / "notes.heic").touch()
    first = read("ImageFolder", tmp_path)
    assert (len(first.train_x), len(first.val), len(first.test)) == (9, 3, 5)
    assert first.classnames == ["cat", "dog"]
    said = "contain 2 entries that will not be used, namely 1 subfolder and 1 file without a supported image extension"
    assert f"{said}. The first is {tmp_path}/dog/more" in capsys.readouterr().out
    pictures(tmp_path, {"dog": 9})  # two more
    again = read("ImageFolder", tmp_path, draw=5)
    assert [i.impath for i in again.test] == [i.impath for i in first.test]
    assert "2 images were added after the split was drawn and will not be used, for example " in capsys.readouterr().out


def test_folders_that_are_split_are_taken_as_they_are(tmp_path, capsys):
    for part, size in (("train", 5), ("val", 2), ("test", 3), ("valid", 1)):
        pictures(tmp_path / part, {"a": size, "b": size})
    lines(tmp_path / "classnames.txt", ["a tabby cat", "b dog"])
    dataset = read("ImageFolder", tmp_path, 2)
    assert (len(dataset.train_x), len(dataset.val), len(dataset.test)) == (4, 4, 6)
    assert dataset.classnames == ["tabby cat", "dog"]
    assert not (tmp_path / "split_ImageFolder.json").exists()
    assert f"{tmp_path} has a folder train/, so the folder valid is not read. Only" in capsys.readouterr().out


@pytest.mark.parametrize("parts", [("train", "test"), ("train", "val")])
def test_missing_val_or_test_is_served_by_the_other(tmp_path, parts):
    for part in parts:
        pictures(tmp_path / part, {"a": 3, "b": 4})
    dataset = read("ImageFolder", tmp_path, 2, "new")
    assert dataset.val is dataset.test
    assert len(dataset.test) == 4
    assert dataset.classnames == ["b"]


def test_faults_are_named(tmp_path):
    with pytest.raises(UserError, match="contains no class folders. Put the images of each class into"):
        read("ImageFolder", tmp_path)
    folders(tmp_path / "train", {"a": 3, "b": 3})
    with one_line(
        "has a folder train/, but neither test/ nor val/ contains images. Add test images, or train with TEST.NO_TEST True"
    ):
        read("ImageFolder", tmp_path)
    folders(tmp_path / "test", {"zebra": 3})
    with pytest.raises(UserError, match="test/zebra has no counterpart in .*train"):
        read("ImageFolder", tmp_path)
    (tmp_path / "test" / "zebra").rename(tmp_path / "test" / "a")
    lines(tmp_path / "classnames.txt", ["c dog"])
    with pytest.raises(
        UserError,
        match="classnames.txt, line 1: 'c dog' is not valid. Each line must contain the name of a class folder",
    ):
        read("ImageFolder", tmp_path)


def test_names_that_are_one_to_clip_are_refused_before_a_split_is_made(tmp_path):
    pictures(tmp_path, {"zero": 5, "ZERO": 5, "one": 5})
    with pytest.raises(
        UserError,
        match="The class names 'ZERO' and 'zero' become the same text for CLIP.*Class names can be set in .*classnames.txt",
    ):
        read("ImageFolder", tmp_path)
    assert not (tmp_path / "split_ImageFolder.json").exists()
    lines(tmp_path / "classnames.txt", ["zero the digit zero"])
    assert read("ImageFolder", tmp_path).classnames == ["ZERO", "one", "the digit zero"]


def test_change_after_the_split_is_refused_with_the_way_out(tmp_path):
    root, path = tmp_path, tmp_path / "split_ImageFolder.json"
    pictures(root, {"cat": 8, "dog": 6})
    read("ImageFolder", root)
    pictures(root, {"bird": 5})
    with pytest.raises(
        UserError, match="class folder .*bird was added after the split was drawn. Move the folder elsewhere, or delete"
    ):
        read("ImageFolder", root)
    path.unlink()
    read("ImageFolder", root)
    (root / "dog" / "image_0003.png").unlink()
    said = "lists dog/image_0003.png, but .* does not exist. Add the missing images, or delete the file to draw"
    with pytest.raises(UserError, match=said):
        read("ImageFolder", root)
    path.unlink()
    read("ImageFolder", root)
    lines(root / "classnames.txt", ["cat tabby"])
    with pytest.raises(
        UserError,
        match="cat is now called 'tabby', .* but the split contains the name 'cat'. Restore the old name, or delete",
    ):
        read("ImageFolder", root)


def test_damaged_images_and_empty_classes_are_named_before_a_split_is_made(tmp_path):
    pictures(tmp_path, {"cat": 8, "dog": 6})
    whole = (tmp_path / "dog" / "image_0001.png").read_bytes()
    (tmp_path / "dog" / "image_0001.png").write_bytes(whole[:45])
    for number in range(4):
        (tmp_path / "cat" / f"image_000{number}.png").write_bytes(b"no image")
    with one_line(r"contains 5 images that cannot be decoded: .*cat/image_0000.png .* and 2 more"):
        read("ImageFolder", tmp_path)
    (tmp_path / "bird").mkdir()
    with pytest.raises(UserError, match="The class folder .*bird contains no images. Add images, or move"):
        read("ImageFolder", tmp_path)
    assert not (tmp_path / "split_ImageFolder.json").exists()


def test_file_names_that_are_no_utf8_are_read_split_drawn_and_read_again(tmp_path):
    pictures(tmp_path, {"cat": 10, "dog": 10})
    for path in [*tmp_path.glob("*/*")]:
        path.rename(path.with_name(os.fsdecode(b"caf\xe9_" + path.name.encode())))
    first = read("ImageFolder", tmp_path, 2)
    again = read("ImageFolder", tmp_path, 2, draw=5)
    assert [one.impath for one in again.train_x] == [one.impath for one in first.train_x]
    assert all(Path(one.impath).is_file() and "\udce9" in one.impath for one in first.train_x)
    assert (tmp_path / "split_ImageFolder.json").read_text().isascii()


def test_a_single_class_can_be_tested_but_not_trained(tmp_path):
    pictures(tmp_path, {"cat": 10})
    with one_line(f"ImageFolder in {tmp_path} has only one class, 'cat', so every .* Add the images of another"):
        read("ImageFolder", tmp_path)
    assert not (tmp_path / "split_ImageFolder.json").exists()
    assert read("ImageFolder", tmp_path, options=("TEST.ONLY", True)).classnames == ["cat"]
    lines(tmp_path / "classnames.txt", ["cat"])
    with one_line(f"Unlabelled in {tmp_path} has only one class"):
        read("Unlabelled", tmp_path)


def test_validation_images_train_if_requested_and_the_split_stays(tmp_path):
    pictures(tmp_path, {"cat": 60, "dog": 60})
    off = read("ImageFolder", tmp_path)
    split = (tmp_path / "split_ImageFolder.json").read_bytes()
    on = read("ImageFolder", tmp_path, options=(TRAIN_ON_VAL, True))
    assert (len(off.train_x), len(off.val), len(off.test)) == (60, 24, 36)
    assert [one.impath for one in on.train_x] == [one.impath for one in (*off.train_x, *off.val)]
    assert [one.impath for one in on.test] == [one.impath for one in off.test]
    assert (on.val is on.test, on.own_validation, on.selected_on) == (True, False, "")
    assert on.split_facts == off.split_facts
    assert (tmp_path / "split_ImageFolder.json").read_bytes() == split


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (("DATASET.NUM_SHOTS", 4), "DATASET.NUM_SHOTS 4 trains on few images of each class"),
        (("DATASET.SHOTS_BY_CLASS", "few.csv"), "DATASET.SHOTS_BY_CLASS trains on few images of each class"),
        (("ACTIVE.ROUNDS", 2), "ACTIVE.ROUNDS 2 chooses which images train"),
        (("TEST.FINAL_MODEL", "best_val"), "TEST.FINAL_MODEL best_val selects the best epoch on them"),
        (("TEST.SPLIT", "val"), "TEST.SPLIT val measures the accuracy on them"),
        (("DATASET.CHOOSE_BY", "few"), "LPPlusPlus with its settings selects on them"),
        (("SEARCH.RUNS", True), "LPPlusPlus with its settings selects on them"),
    ],
)
def test_validation_images_do_not_train_where_they_are_needed(options, reason):
    cfg = get_cfg_default()
    cfg.merge_from_list([TRAIN_ON_VAL, True, "TRAINER.NAME", "LPPlusPlus", *options])
    with one_line(
        f"^{TRAIN_ON_VAL} True adds the validation images to .*, but {reason}. Remove one of the two settings.$"
    ):
        trains_on_validation(cfg)


def test_folder_without_test_images_trains_without_a_test(tmp_path):
    pictures(tmp_path / "train", {"a": 5, "b": 6})
    for half, size in (("all", 11), ("new", 6)):
        dataset = read("ImageFolder", tmp_path, half=half, options=("TEST.NO_TEST", True))
        assert (len(dataset.train_x), dataset.has_test, dataset.own_validation) == (size, False, False)
    for more in ("TEST.ONLY", True), ("TEST.FINAL_MODEL", "best_val", "DATASET.VAL_FROM_TEST", True):
        with one_line("neither test/ nor val/"):
            read("ImageFolder", tmp_path, options=("TEST.NO_TEST", True, *more))


def entries(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.suffix != ".png"}


@pytest.mark.parametrize("is_split", [True, False])
def test_no_folder_is_made_among_the_images_and_lists_go_to_the_run(tmp_path, is_split):
    root, out = tmp_path / "mine", tmp_path / "out"
    for part in ("train", "val", "test") if is_split else ("",):
        pictures(root / part, {"cat": 10, "dog": 10})
    before = entries(root)
    first = read("ImageFolder", root, 2, seed=1, out=out)
    assert entries(root) - before == (set() if is_split else {"split_ImageFolder.json"})
    assert [path.name for path in out.rglob("*.json")] == ["shot_2-seed_1.json"]
    assert not any("shot" in name for name in first.record_files)
    again = read("ImageFolder", root, 2, seed=1, draw=5, out=out)
    other = read("ImageFolder", root, 2, seed=1, out=tmp_path / "other")
    nowhere = read("ImageFolder", root, 2, seed=1, draw=7, out="")
    lists = [[item.impath for item in found.train_x] for found in (first, again, other, nowhere)]
    assert lists == lists[:1] * 4


def test_strokes_that_vanish_on_white_are_reported_once(tmp_path, capsys):
    pictures(tmp_path, {"cat": 3, "dog": 3})
    strokes = Image.new("RGBA", (8, 8), (0, 0, 0, 0))
    strokes.putpixel((3, 3), (255, 255, 255, 255))
    for name in ("white_1", "white_2"):
        strokes.save(tmp_path / "cat" / f"{name}.png")
    strokes.putpixel((3, 3), (0, 0, 0, 255))
    strokes.save(tmp_path / "dog" / "black.png")
    Image.new("RGB", (8, 8), "white").save(tmp_path / "dog" / "opaque.png")
    read("ImageFolder", tmp_path)
    (note,) = [line for line in capsys.readouterr().out.splitlines() if "transparency" in line]
    assert note.startswith("note: 2 images with transparency become a single colour")
    assert str(tmp_path / "cat" / "white_1.png") in note
