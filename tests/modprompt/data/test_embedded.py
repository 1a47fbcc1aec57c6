"""What all data sets share that are inside a package; tiny ones of our own."""

import errno
import json
import shutil

import numpy as np
import pytest
from PIL import Image

from modprompt.data.embedded import EmbeddedDataset
from modprompt.errors import UserError
from tests.modprompt.data.trees import pictures


class Tiny(EmbeddedDataset):
    dataset_dir = "tiny"
    split_file = "split_tiny.json"
    class_names = ("dark", "bright")
    origin = "tiny images"

    @staticmethod
    def arrays():
        labels = [0, 1] * 12  # dark and bright take turns
        return np.arange(24, dtype=np.uint8)[:, None, None] * np.ones((1, 3, 5), np.uint8), labels


def test_parts_go_by_the_place_among_the_images_of_a_class(tmp_path):
    Tiny.write(tmp_path / "tiny")
    split = json.loads((tmp_path / "tiny" / "split_tiny.json").read_text())
    dark = {
        part: [int(name[5:-4]) // 2 for name, label, _ in split[part] if label == 0]
        for part in split.keys() - {"modprompt"}
    }
    assert dark == {"train": [0, 1, 2, 3, 4, 10, 11], "val": [5, 6], "test": [7, 8, 9]}
    assert [label for _, label, _ in split["train"]] == [0] * 7 + [1] * 7
    assert {(label, name) for rows in map(split.get, dark) for _, label, name in rows} == {(0, "dark"), (1, "bright")}


def test_second_writer_leaves_what_the_first_wrote(tmp_path):
    Tiny.write(tmp_path / "tiny")
    before = (tmp_path / "tiny" / "images").stat().st_ino
    Tiny.write(tmp_path / "tiny")
    assert (tmp_path / "tiny" / "images").stat().st_ino == before
    (tmp_path / "tiny" / "images").rename(tmp_path / ".tiny-part")  # as a killed writer leaves it
    shutil.rmtree(tmp_path / "tiny")
    Tiny.write(tmp_path / "tiny")
    assert [path.name for path in tmp_path.iterdir()] == ["tiny"]


def test_root_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"^Tiny: cannot write .*/file/tiny \(.+\): give another --root$"):
        Tiny.write(tmp_path / "file" / "tiny")


def test_full_disk_leaves_nothing(tmp_path, monkeypatch):
    save = Image.Image.save

    def until_full(picture, path):
        if path.name == "0013.png":
            raise OSError(errno.ENOSPC, "No space left on device")
        save(picture, path)

    monkeypatch.setattr(Image.Image, "save", until_full)
    with pytest.raises(UserError, match=r"cannot write .*tiny \(No space left on device\)"):
        Tiny.write(tmp_path / "tiny")
    assert list(tmp_path.iterdir()) == []


def test_images_of_somebodys_own_get_none_of_it_among_them(tmp_path):
    pictures(tmp_path, {"cat": 1})
    reader = Tiny.__new__(Tiny)
    with pytest.raises(UserError, match="^Tiny would be written into .* whose folders hold images of your own"):
        reader.find(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["cat"]
