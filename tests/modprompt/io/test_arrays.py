import subprocess
import sys

import numpy as np
import pytest
from scipy.io import savemat

from modprompt.errors import UserError
from modprompt.io.arrays import read_array, read_arrays, read_mat, write_arrays
from modprompt.io.files import Refused
from tests.conftest import one_line


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
    for maps in (False, True):
        assert read_array(tmp_path / "deep" / "a.npy", maps=maps).tolist() == x.tolist()
    (tmp_path / "deep" / "a.npy").unlink()
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["a.npz"]


def test_mapped_array_that_is_cut_off_or_holds_objects_is_a_line(tmp_path):
    path = tmp_path / "a.npy"
    np.save(path, np.arange(600))
    whole = path.read_bytes()
    np.save(path, np.array([{"a": 1}], dtype=object))
    for content in (path.read_bytes(), whole[:-1], whole[: len(whole) // 2], b""):
        path.write_bytes(content)
        with one_line("a.npy is damaged"):
            read_array(path, maps=True)
    with pytest.raises(FileNotFoundError):
        read_array(tmp_path / "none")


def test_flipped_bit_is_refused_or_changes_nothing(tmp_path):
    path = tmp_path / "a.npz"
    write_arrays(path, x=np.arange(40), y=np.array(["a"]))
    whole = path.read_bytes()
    for at in range(0, len(whole), 3):
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
    rows = [(row["fname"].item(), row["class"].item()) for row in found["annotations"][0]]
    assert rows == [("1.jpg", 3), ("2.jpg", 5)]


def test_other_files_are_refused_in_a_line(mat):
    whole = mat.read_bytes()
    flipped = whole[:200] + bytes([whole[200] ^ 1]) + whole[201:]
    for content in (b"<html></html>" * 20, whole[:-9], flipped):
        mat.write_bytes(content)
        with pytest.raises(Refused) as raised:
            read_mat(mat)
        assert "\n" not in str(raised.value)
        assert len(str(raised.value)) <= 160


def test_file_that_ends_its_reader_does_not_end_this_process(mat, monkeypatch):
    run = subprocess.run
    code = "import os; os.kill(os.getpid(), 11)"
    monkeypatch.setattr(subprocess, "run", lambda words, **more: run([sys.executable, "-c", code], **more))
    with pytest.raises(Refused, match="the process that read the file crashed"):
        read_mat(mat)
