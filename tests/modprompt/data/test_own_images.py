"""What a folder is, by what lies in it."""

import pytest

import modprompt.data.readers.all  # noqa: F401 - registers
from modprompt.data import own_images
from modprompt.data.own_images import IMAGE_FOLDER, UNLABELLED, kind_of
from modprompt.errors import UserError
from tests.modprompt.data.trees import lines, pictures


@pytest.mark.parametrize(
    ("folders", "names", "in_rounds", "otherwise"),  # what a root is with such folders of pictures and class names
    [
        (["cat", "dog"], None, IMAGE_FOLDER, IMAGE_FOLDER),
        (["train/cat", "train/dog"], None, IMAGE_FOLDER, IMAGE_FOLDER),
        (["cat", "dog"], ["cat", "dog"], UNLABELLED, IMAGE_FOLDER),
        (["images"], ["cat", "dog"], UNLABELLED, UNLABELLED),
        (["cat", "dog"], ["cat a cat", "dog a dog"], IMAGE_FOLDER, IMAGE_FOLDER),
    ],
)
def test_folder_is_what_lies_in_it(tmp_path, folders, names, in_rounds, otherwise):
    pictures(tmp_path, dict.fromkeys(folders, 2))
    if names:
        lines(tmp_path / "classnames.txt", names)
    assert (kind_of(tmp_path, True), kind_of(tmp_path, False)) == (in_rounds, otherwise)


@pytest.mark.parametrize(
    ("sizes", "said"),  # of folders with pictures
    [
        (None, "--root ROOT: the folder does not exist"),
        ({}, "--root ROOT is empty. Put your images into"),
        ({"a/deep": 2}, "--root ROOT contains no folders with images. "),
        ({".hidden": 2}, "--root ROOT contains no folders with images. "),
        (
            {"eurosat/2750/River": 4},
            "--root ROOT contains the benchmark data set eurosat. Select the data set with --dataset-config-file eurosat.",
        ),
    ],
)
def test_what_is_none_is_refused_in_a_line_that_names_it_and_nothing_is_written(tmp_path, sizes, said):
    root = tmp_path / "root"
    if sizes is not None:
        root.mkdir()
        pictures(root, sizes)
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
