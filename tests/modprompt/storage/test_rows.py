import os
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modprompt.errors import UserError
from modprompt.storage.opening import Refused
from modprompt.storage.rows import Rows, size_of, write_rows

SHAPE = (5, 2, 3, 3)
WANTED = np.random.default_rng(0).integers(0, 256, SHAPE, dtype=np.uint8)


def write(path, rows=WANTED, shape=SHAPE, stands_for="these"):
    write_rows(path, shape, (rows[start : start + 2] for start in range(0, len(rows), 2)), stands_for)
    return path


def test_rows_come_back_copied(tmp_path):
    path = write(tmp_path / "deep" / "rows")
    rows = Rows(path, SHAPE, "these")
    assert path.stat().st_size == size_of(SHAPE)
    assert len(rows) == 5
    assert all(np.array_equal(rows[number], WANTED[number]) for number in range(5))
    rows[0][:] = 0
    assert np.array_equal(rows[0], WANTED[0])
    assert [one.name for one in path.parent.iterdir()] == ["rows"]


def test_rows_are_taken_as_they_lie_and_opened_again_where_they_are_sent(tmp_path):
    rows = Rows(write(tmp_path / "rows", WANTED[:, :, ::-1]), SHAPE, "these")
    sent = pickle.dumps(rows)
    assert len(sent) < 1000
    assert np.array_equal(pickle.loads(sent)[3], WANTED[3, :, ::-1])


@pytest.mark.parametrize(("shape", "what"), [((5, 2, 9), "these"), ((4, 2, 3, 3), "these"), (SHAPE, "those")])
def test_rows_of_another_number_or_meaning_are_refused(tmp_path, shape, what):
    path = write(tmp_path / "rows")
    with pytest.raises(Refused, match="bytes, not" if len(WANTED) != shape[0] else "its hash is of other content"):
        Rows(path, shape, what)


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


def test_missing_file_and_one_that_is_none(tmp_path):
    with pytest.raises(FileNotFoundError):
        Rows(tmp_path / "rows", SHAPE, "these")
    os.mkfifo(tmp_path / "rows")
    with pytest.raises(UserError, match="a pipe, a device"):
        Rows(tmp_path / "rows", SHAPE, "these")


@pytest.mark.parametrize("size", [0, 1, 89, 90, 95, 110, size_of(SHAPE) - 1, size_of(SHAPE) + 1])
def test_cut_or_longer_file_is_refused(tmp_path, size):
    path = write(tmp_path / "rows")
    path.write_bytes((path.read_bytes() + b"x")[:size])
    with pytest.raises(Refused, match=f"it has {size} bytes, not"):
        Rows(path, SHAPE, "these")


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    path = write(tmp_path_factory.mktemp("rows") / "rows")
    return path, path.read_bytes()


@given(st.data())
def test_no_flipped_bit_is_ever_given(written, data):
    path, raw = written
    at, bit = data.draw(st.integers(0, len(raw) - 1)), data.draw(st.integers(0, 7))
    path.write_bytes(raw[:at] + bytes([raw[at] ^ (1 << bit)]) + raw[at + 1 :])
    if at >= WANTED.size:
        with pytest.raises(Refused, match="its hash is of other content"):
            Rows(path, SHAPE, "these")
        return
    rows, damaged = Rows(path, SHAPE, "these"), at // WANTED[0].size
    with pytest.raises(Refused, match=f"row {damaged} is damaged"):
        rows[damaged]
    assert all(np.array_equal(rows[one], WANTED[one]) for one in range(5) if one != damaged)


def test_the_file_that_is_open_is_removed_and_no_other(tmp_path):
    path = write(tmp_path / "rows")
    rows = Rows(path, SHAPE, "these")
    write(path)  # another one in its place
    assert not rows.remove()
    assert path.exists()
    again = Rows(path, SHAPE, "these")
    assert again.remove()
    assert not path.exists()
    assert not again.remove()
    assert np.array_equal(again[4], WANTED[4])  # who has it open goes on
