import zipfile

import numpy as np
import pytest

from modprompt.io.arrays import Rows, write_rows
from modprompt.io.safe_open import Refused

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


def test_rows_are_taken_as_they_lie(tmp_path):
    rows = Rows(write(tmp_path / "rows", WANTED[:, :, ::-1]), KIND, "these")
    assert np.array_equal(rows[3], WANTED[3, :, ::-1])


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


def test_damaged_row_is_named_and_the_others_are_read(tmp_path):
    path = write(tmp_path / "rows")
    raw = bytearray(path.read_bytes())
    raw[raw.index(WANTED.tobytes()) + 2 * WANTED[0].size] ^= 4
    path.write_bytes(raw)
    rows = Rows(path, KIND, "these")
    with pytest.raises(Refused, match="row 2 is damaged"):
        rows[2]
    assert np.array_equal(rows[3], WANTED[3])


@pytest.mark.parametrize("content", [b"", b"<html></html>", b"PK\3\4"])
def test_other_files_are_refused(tmp_path, content):
    (tmp_path / "rows").write_bytes(content)
    with pytest.raises(Refused, match="it is damaged"):
        Rows(tmp_path / "rows", KIND, "these")
