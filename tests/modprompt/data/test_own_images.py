"""What a folder is, by what lies in it."""

import pytest

import modprompt.data.readers.all  # noqa: F401 - registers
from modprompt.data import own_images
from modprompt.data.own_images import IMAGE_FOLDER, UNLABELLED, kind_of
from modprompt.errors import UserError
from tests.modprompt.data import trees
from tests.modprompt.data.trees import lines, pictures

CLASSES = {"cat": 2, "dog": 1}


@pytest.mark.parametrize("inner", ["", "train/"])
def test_folders_that_hold_images_directly_are_classes(tmp_path, inner):
    pictures(tmp_path, {f"{inner}{name}": size for name, size in CLASSES.items()})
    assert [kind_of(tmp_path, in_rounds) for in_rounds in (False, True)] == [IMAGE_FOLDER] * 2


def test_class_names_alone_are_for_rounds_unless_there_are_no_classes(tmp_path):
    pictures(tmp_path, CLASSES)
    lines(tmp_path / "classnames.txt", CLASSES)
    assert (kind_of(tmp_path, True), kind_of(tmp_path, False)) == (UNLABELLED, IMAGE_FOLDER)
    (tmp_path / "pool").mkdir()
    pictures(tmp_path / "pool", {"images": 3})
    lines(tmp_path / "pool" / "classnames.txt", CLASSES)
    assert kind_of(tmp_path / "pool", False) == UNLABELLED


def test_names_of_class_folders_are_an_image_folders_in_rounds_too(tmp_path):
    pictures(tmp_path, CLASSES)
    lines(tmp_path / "classnames.txt", ["cat a cat", "dog a dog"])
    assert kind_of(tmp_path, True) == IMAGE_FOLDER


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda root: root.rmdir(), "--root: there is no folder ROOT"),
        (lambda root: None, "--root ROOT is empty: put images of your own into"),
        (lambda root: pictures(root, {"a/deep": 2}), "--root ROOT has no folders with images in them: "),
        (lambda root: pictures(root, {".hidden": 2}), "--root ROOT has no folders with images in them: "),
        (trees.eurosat, "--root ROOT holds data sets: say which, --dataset-config-file eurosat"),
    ],
)
def test_what_is_none_is_refused_in_a_line_that_names_it_and_nothing_is_written(tmp_path, make, said):
    root = tmp_path / "root"
    root.mkdir()
    make(root)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UserError) as raised:
        kind_of(root, False)
    assert str(raised.value).startswith(said.replace("ROOT", str(root)))
    assert sorted(tmp_path.rglob("*")) == before


def test_names_are_known_before_images_are_read(tmp_path):
    (tmp_path / "cat").mkdir()
    (tmp_path / "dog").mkdir()
    lines(tmp_path / "classnames.txt", ["cat tabby"])
    assert own_images.names_in("ImageFolder", tmp_path) == ["tabby", "dog"]
    lines(tmp_path / "classnames.txt", ["tabby", "hound"])
    assert own_images.names_in("Unlabelled", tmp_path) == ["tabby", "hound"]
    assert own_images.names_in("Digits", tmp_path / "none")[0] == "zero"
    assert own_images.names_in("EuroSAT", tmp_path) == ()
    assert own_images.names_in("Nobody", tmp_path) is None
