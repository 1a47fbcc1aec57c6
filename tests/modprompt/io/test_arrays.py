import subprocess
import sys
import zipfile

import numpy as np
import pytest
from scipy.io import savemat

from modprompt.errors import UserError
from modprompt.io.arrays import (
    Rows,
    read_all_arrays,
    read_array,
    read_arrays,
    read_mat,
    write_arrays,
    write_rows,
)
from modprompt.io.safe_open import Refused


@pytest.mark.parametrize("packed", [False, True])
def test_arrays_come_back_by_name(tmp_path, packed):
    path = tmp_path / "deep" / "a.npz"
    write_arrays(path, packed=packed, x=np.arange(6).reshape(2, 3), y=np.float64(2.5), z=np.array(["ä", "b"]))
    x, y = read_arrays(path, "x", "y")
    assert x.tolist() == [[0, 1, 2], [3, 4, 5]]
    assert y == 2.5
    assert read_all_arrays(path)["z"].tolist() == ["ä", "b"]
    with pytest.raises(UserError, match="a.npz is damaged .*none is not a file"):
        read_arrays(path, "none")
    np.save(tmp_path / "a.npy", x)
    assert read_array(tmp_path / "a.npy").tolist() == x.tolist()
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["a.npz"]


def contents(tmp_path):
    objects = np.array([{"a": 1}], dtype=object)
    write_arrays(tmp_path / "whole.npz", x=np.arange(600))
    np.save(tmp_path / "whole.npy", np.arange(600))
    np.savez(tmp_path / "objects.npz", x=objects)
    np.save(tmp_path / "objects.npy", objects)
    for path in list(tmp_path.iterdir()):
        yield path.name, path.read_bytes()


@pytest.mark.parametrize("read", [read_all_arrays, read_array])
def test_other_files_are_a_line(tmp_path, read):
    found = dict(contents(tmp_path))
    whole = found.pop("whole.npz" if read is read_all_arrays else "whole.npy")
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
            x, y = read_arrays(path, "x", "y")
        except UserError:
            continue
        assert (x.tolist(), y.tolist()) == (list(range(40)), ["a"])


# ---- rows

SHAPE = (5, 2, 3, 3)
WANTED = np.random.default_rng(0).integers(0, 256, SHAPE, dtype=np.uint8)
NUMBERS = np.random.default_rng(0).normal(size=(4, 7)).astype(np.float32)
KIND = np.dtype((np.uint8, SHAPE[1:]))


def write(path, rows=WANTED):
    write_rows(path, KIND, len(WANTED), (rows[start : start + 2] for start in range(0, len(rows), 2)), "these")
    return path


def test_rows_come_back_copied(tmp_path):
    path = write(tmp_path / "deep" / "rows")
    rows = Rows(path, KIND, "these")
    assert len(rows) == 5
    assert all(np.array_equal(rows[number], WANTED[number]) for number in range(5))
    rows[0][:] = 0
    assert np.array_equal(rows.all(), WANTED)
    assert rows.names == []
    assert [one.name for one in path.parent.iterdir()] == ["rows"]


def test_rows_of_numbers_may_have_names(tmp_path):
    kind = np.dtype((np.float32, (7,)))
    write_rows(tmp_path / "rows", kind, 4, [NUMBERS], "these", ["a", "b", "\u00e9", ""])
    rows = Rows(tmp_path / "rows", kind, "these")
    assert rows.names == ["a", "b", "\u00e9", ""]
    assert rows.all().tobytes() == NUMBERS.tobytes()


def test_numpy_reads_them_and_the_same_rows_make_the_same_file(tmp_path):
    one, other = (write(tmp_path / name) for name in ("one.npz", "other.npz"))
    assert one.read_bytes() == other.read_bytes()
    assert np.array_equal(np.load(one)["rows"], WANTED)
    with zipfile.ZipFile(one) as archive:
        assert archive.testzip() is None


def test_who_has_a_file_open_goes_on_when_it_is_gone(tmp_path):
    rows = Rows(write(tmp_path / "rows"), KIND, "these")
    (tmp_path / "rows").unlink()
    assert np.array_equal(rows[4], WANTED[4])


@pytest.mark.parametrize(
    ("dtype", "shape", "stands_for", "message"),
    [
        (np.uint8, (2, 9), "these", r"its rows are not 5 of uint8 \(2, 9\)"),
        (np.uint8, (2, 3, 2), "these", "its rows are not 5 of"),
        (np.int8, SHAPE[1:], "these", "its rows are not 5 of int8"),
        (np.uint8, SHAPE[1:], "those", "it stands for others"),
    ],
)
def test_rows_of_another_kind_or_meaning_are_refused(tmp_path, dtype, shape, stands_for, message):
    with pytest.raises(Refused, match=message):
        Rows(write(tmp_path / "rows"), np.dtype((dtype, shape)), stands_for)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (WANTED[:4], "4 rows came, not 5"),
        (WANTED[:, :1], r"rows of uint8 \(1, 3, 3\) came"),
        (WANTED.astype(np.int8), "rows of int8"),
        (np.concatenate([WANTED, WANTED]), "10 rows came"),
    ],
)
def test_rows_that_do_not_fit_are_not_written(tmp_path, rows, message):
    with pytest.raises(Refused, match=message):
        write(tmp_path / "rows", rows)
    assert not list(tmp_path.iterdir())


def test_flipped_bit_is_never_returned(tmp_path):
    path = write(tmp_path / "rows")
    whole, refused = path.read_bytes(), 0
    for at in range(len(whole)):
        raw = bytearray(whole)
        raw[at] ^= 1 << at % 8
        path.write_bytes(raw)
        try:
            assert np.array_equal(Rows(path, KIND, "these").all(), WANTED)
        except Refused:
            refused += 1
    assert refused > WANTED.size


@pytest.mark.parametrize("content", [b"", b"<html></html>", b"PK\3\4"])
def test_other_files_are_refused(tmp_path, content):
    (tmp_path / "rows").write_bytes(content)
    with pytest.raises(Refused, match="it is damaged"):
        Rows(tmp_path / "rows", KIND, "these")


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
