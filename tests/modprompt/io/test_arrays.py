import functools
import subprocess
import sys

import numpy as np
import pytest
from scipy.io import savemat

from modprompt.errors import UserError
from modprompt.io.arrays import read_array, read_arrays, read_mat, write_arrays
from modprompt.io.files import Refused


@pytest.mark.parametrize("packed", [False, True])
def test_arrays_come_back_by_name(tmp_path, packed):
    path = tmp_path / "deep" / "a.npz"
    write_arrays(path, packed=packed, x=np.arange(6).reshape(2, 3), y=np.float64(2.5), z=np.array(["ä", "b"]))
    x, y = read_arrays(path, "x", "y").values()
    assert x.tolist() == [[0, 1, 2], [3, 4, 5]]
    assert y == 2.5
    assert read_arrays(path)["z"].tolist() == ["ä", "b"]
    with pytest.raises(UserError, match="a.npz is damaged .*none is not a file"):
        read_arrays(path, "none")
    np.save(tmp_path / "deep" / "a.npy", x)
    assert (
        read_array(tmp_path / "deep" / "a.npy").tolist()
        == read_array(tmp_path / "deep" / "a.npy", maps=True).tolist()
        == x.tolist()
    )
    (tmp_path / "deep" / "a.npy").unlink()
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["a.npz"]


def contents(tmp_path):
    objects = np.array([{"a": 1}], dtype=object)
    write_arrays(tmp_path / "whole.npz", x=np.arange(600))
    np.save(tmp_path / "whole.npy", np.arange(600))
    np.savez(tmp_path / "objects.npz", x=objects)
    np.save(tmp_path / "objects.npy", objects)
    for path in list(tmp_path.iterdir()):
        yield path.name, path.read_bytes()


@pytest.mark.parametrize("read", [read_arrays, read_array, functools.partial(read_array, maps=True)])
def test_other_files_are_a_line(tmp_path, read):
    found = dict(contents(tmp_path))
    whole = found.pop("whole.npz" if read is read_arrays else "whole.npy")
    found |= {"empty": b"", "page": b"<html></html>", "cut off": whole[:-1], "half": whole[: len(whole) // 2]}
    path = tmp_path / "a"
    for kind, content in found.items():
        path.write_bytes(content)
        with pytest.raises(UserError, match="a is damaged") as raised:
            read(path)
        assert "\n" not in str(raised.value), kind
    with pytest.raises(FileNotFoundError):
        read(tmp_path / "none")


def test_flipped_bit_is_refused_or_changes_nothing(tmp_path):
    path = tmp_path / "a.npz"
    write_arrays(path, x=np.arange(40), y=np.array(["a"]))
    whole = path.read_bytes()
    for at in range(len(whole)):
        raw = bytearray(whole)
        raw[at] ^= 1 << at % 8
        path.write_bytes(raw)
        try:
            x, y = read_arrays(path, "x", "y").values()
        except UserError:
            continue
        assert (x.tolist(), y.tolist()) == (list(range(40)), ["a"])


# ---- MATLAB's

ROWS = np.array([[("1.jpg", 3), ("2.jpg", 5)]], [("fname", object), ("class", object)])


@pytest.fixture
def mat(tmp_path):
    savemat(tmp_path / "a.mat", {"labels": np.array([[1, 2, 3]], np.uint8), "annotations": ROWS}, do_compression=True)
    return tmp_path / "a.mat"


def test_variables_come_by_name(mat):
    found = read_mat(mat)
    assert sorted(found) == ["annotations", "labels"]
    assert found["labels"].tolist() == [[1, 2, 3]]
    assert [(row["fname"].item(), row["class"].item()) for row in found["annotations"][0]] == [
        ("1.jpg", 3),
        ("2.jpg", 5),
    ]


@pytest.mark.parametrize("kind", ["empty", "page", "cut off", "flipped"])
def test_other_files_are_refused_in_a_line(mat, kind):
    whole = mat.read_bytes()
    flipped = whole[:200] + bytes([whole[200] ^ 1]) + whole[201:]
    mat.write_bytes({"empty": b"", "page": b"<html></html>" * 20, "cut off": whole[:-9], "flipped": flipped}[kind])
    with pytest.raises(Refused) as raised:
        read_mat(mat)
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) <= 160


def test_file_that_ends_its_reader_does_not_end_this_process(mat, monkeypatch):
    run = subprocess.run
    code = "import os; os.kill(os.getpid(), 11)"
    monkeypatch.setattr(subprocess, "run", lambda words, **more: run([sys.executable, "-c", code], **more))
    with pytest.raises(Refused, match="reading it ended the reader"):
        read_mat(mat)
