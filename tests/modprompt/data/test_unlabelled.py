import os

import pytest

from modprompt.data.selection import facts_of
from modprompt.errors import UserError
from tests.conftest import one_line
from tests.modprompt.data import test_readers
from tests.modprompt.data.trees import lines, pictures

NAMES = ["cat", "big_dog", "F-16A/B"]


def read(root, *options):
    return test_readers.read("Unlabelled", root, options=("ACTIVE.ROUNDS", 2, *options))


@pytest.fixture
def root(tmp_path):
    """Nine images in two folders, one of them inside the other, and names of three classes."""
    pictures(tmp_path / "images", {"b": 4, "a/deep": 5})
    lines(tmp_path / "classnames.txt", NAMES)
    return tmp_path


def files(items, root):
    return [os.path.relpath(item.impath, root) for item in items]


def test_folder_and_names_are_enough(root):
    found = read(root)
    names = [*(f"images/a/deep/image_000{n}.png" for n in range(5)), *(f"images/b/image_000{n}.png" for n in range(4))]
    assert files(found.pool, root) == names
    assert {item.label for item in found.pool} == {-1}
    assert (found.classnames, found.num_classes, found.lab2cname) == (NAMES, 3, dict(enumerate(NAMES)))
    assert (found.train_x, found.val, found.has_test, found.image_root) == ([], None, False, str(root))
    assert files(found.test, root) == files(found.pool[:1], root)
    assert (found.own_validation, found.selected_on, found.few_shot_hash, found.record_files) == (False, "", "", {})


def test_images_may_lie_in_the_folder_itself_beside_tests_a_run_and_other_files(tmp_path, capsys):
    pictures(tmp_path, {"b": 2, "test/cat": 1, "test/F-16A_B": 2, "output/run": 3, ".hidden": 2})
    lines(tmp_path / "classnames.txt", NAMES)
    (tmp_path / "b" / "notes.heic").write_bytes(b"")
    pictures(tmp_path, {"split_fewshot": 1})  # the folder is one of older versions
    (tmp_path / "b" / "circle").symlink_to(tmp_path)
    found = read(tmp_path, "OUTPUT_DIR", str(tmp_path / "output" / "run"))
    assert files(found.pool, tmp_path) == ["b/image_0000.png", "b/image_0001.png"]
    assert [(item.label, item.classname) for item in found.test] == [(2, "F-16A/B"), (2, "F-16A/B"), (0, "cat")]
    assert found.has_test
    assert (
        f"1 file without a supported image extension, which will not be used. The first is '{tmp_path}/b/notes.heic'"
        in capsys.readouterr().out
    )


def test_labels_that_there_are_already_leave_the_pool(root, capsys):
    labels = ["Big Dog;images/b/image_0001.png;x", ";b/image_0002.png;", "cat;a/deep/image_0000.png;"]
    lines(root / "labels.csv", ["\ufefflabel;file;note", *labels])
    found = read(root)
    assert files(found.train_x, root) == ["images/a/deep/image_0000.png", "images/b/image_0001.png"]
    assert [(item.label, item.classname) for item in found.train_x] == [(0, "cat"), (1, "big_dog")]
    assert len(found.pool) == 7
    assert "1 of 3 lines have no label" in capsys.readouterr().out


def test_hash_and_facts_know_names_labels_and_tests_and_not_the_place(root, tmp_path_factory):
    found = read(root)
    facts = facts_of(found, found.cfg)
    assert facts["split"] == {"name": "Unlabelled", "status": "not known", "hash": found.split_facts["hash"]}
    assert (facts["few_shot"], facts["selected_on"]) == ({"hash": ""}, "")
    moved = tmp_path_factory.mktemp("moved") / "data"
    root.rename(moved)
    assert facts_of(found := read(moved), found.cfg) == facts
    hashes = {facts["split"]["hash"]}
    for file, rows in (
        ("labels.csv", ["file,label", "images/b/image_0001.png,cat"]),
        ("labels.csv", ["file,label", "images/b/image_0001.png,big_dog"]),
        ("classnames.txt", ["cat", "big_dog", "bird"]),
        ("images/more.png", ["an image"]),
        ("test/cat/more.png", ["an image"]),
    ):
        lines(moved / file, rows)
        hashes.add(read(moved).split_facts["hash"])
    assert len(hashes) == 6


def test_choosing_by_test_images_is_a_choice_of_ones_own(root):
    pictures(root / "test", {"cat": 2})
    options = ("TEST.FINAL_MODEL", "best_val")
    with pytest.raises(
        UserError,
        match="Unlabelled has no validation images for selecting the best checkpoint. Set TEST.FINAL_MODEL last_step",
    ):
        read(root, *options)
    found = read(root, *options, "DATASET.VAL_FROM_TEST", True)
    assert (found.selected_on, found.val) == ("test", found.test)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("ACTIVE.ROUNDS 0", "has no test images. Put test images into .*test, .*or set TEST.NO_TEST to True"),
        ("ACTIVE.ROUNDS 0 TEST.NO_TEST True", "has no labels to train on. Set ACTIVE.ROUNDS to label images"),
        ("TEST.ONLY True", "has no test images. Put test images into .*test, with one subfolder for each class.$"),
        (
            "DATASET.NUM_SHOTS 4",
            "DATASET.NUM_SHOTS 4 is not supported by the data set Unlabelled, because every image with a label is used for training",
        ),
        (
            "DATASET.SUBSAMPLE_CLASSES base",
            "SUBSAMPLE_CLASSES base is not supported for images without labels. Set DATASET.SUBSAMPLE_CLASSES to all",
        ),
        ("TEST.FINAL_MODEL best_val DATASET.VAL_FROM_TEST True", "Unlabelled has no validation images"),
    ],
)
def test_what_the_run_would_need_and_is_not_there_is_said(root, options, message):
    with pytest.raises(UserError, match=message):
        read(root, *options.split())


LISTED = ["file,label", "b/image_0001.png,cat", "images/b/image_0001.png,"]


@pytest.mark.parametrize(
    ("file", "rows", "message"),
    [
        ("classnames.txt", [""], "classnames.txt contains no class names. Write one class name per line"),
        ("classnames.txt", ["cat", "dog", "cat"], "classnames.txt: The class 'cat' is listed twice"),
        ("classnames.txt", ["a_cat", "", "A cat"], "The class names 'a_cat' and 'A cat' become the same text for CLIP"),
        (
            "labels.csv",
            ["file,label", "z.png,cat"],
            "labels.csv, line 2: The image 'z.png' does not exist in .* Enter the path",
        ),
        ("labels.csv", LISTED, "labels.csv, line 3 repeats images/b/image_0001.png from line 2"),
        ("test/cat.jpg", [""], "cat.jpg is not a folder, but test/ may only contain class folders"),
        ("test/bird/a.jpg", [""], "test: unknown class 'bird'"),
        (
            "test/cat/notes.txt",
            [""],
            "test contains no images. Put test images into the folders of their classes, or remove",
        ),
    ],
)
def test_faults_of_the_files_are_named(root, file, rows, message):
    lines(root / file, rows)
    with one_line(message):
        read(root)


def test_what_is_missing_is_named(tmp_path):
    with pytest.raises(UserError, match="DATASET.ROOT .*none: the folder does not exist. Set --root"):
        read(tmp_path / "none")
    with pytest.raises(UserError, match="annotation file .*classnames.txt is missing. Write one class name per line"):
        read(tmp_path)
    lines(tmp_path / "classnames.txt", NAMES)
    with pytest.raises(
        UserError,
        match=r"No images were found in .* Supported extensions: .bmp, .* Put images into this folder or its subfolders",
    ):
        read(tmp_path)


def test_links_are_followed_behind_the_folders_themselves(root, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    pictures(elsewhere, {"x": 1})
    (root / "images" / "a" / "link").symlink_to(root / "images" / "b")
    (root / "images" / "z").symlink_to(elsewhere)
    pictures(root / "test", {"cat": 2})  # of which links bring none into the pool
    (root / "images" / "link").symlink_to(root / "test")
    (root / "images" / "deeper").symlink_to(root / "test" / "cat")
    found = files(read(root).pool, root)
    assert len(found) == 10
    assert {"images/b/image_0000.png", "images/z/x/image_0000.png"} <= set(found)
    (root / "images" / "none.jpg").symlink_to(root / "nothing")
    with pytest.raises(UserError, match="none.jpg has the name of an image, but is not a regular file. Move"):
        read(root)
