import zipfile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modprompt.errors import UserError
from modprompt.storage.arrays import read_all_arrays, read_array, read_arrays, write_array, write_arrays
from tests.modprompt.storage.hostile import attempt


def test_arrays_come_back_by_name(tmp_path):
    write_arrays(tmp_path / "deep" / "a.npz", x=np.arange(6).reshape(2, 3), y=np.float64(2.5), z=np.array(["ä", "b"]))
    x, y = read_arrays(tmp_path / "deep" / "a.npz", "x", "y")
    assert x.tolist() == [[0, 1, 2], [3, 4, 5]]
    assert y == 2.5
    assert read_all_arrays(tmp_path / "deep" / "a.npz")["z"].tolist() == ["ä", "b"]
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["a.npz"]


def test_packed_arrays_of_others_are_read(tmp_path):
    np.savez_compressed(tmp_path / "a.npz", x=np.zeros(100_000))
    assert read_arrays(tmp_path / "a.npz", "x")[0].shape == (100_000,)


def test_objects_missing_names_and_text_are_one_line(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.array([{"a": 1}], dtype=object))
    for name, message in (("x", "allow_pickle"), ("y", "it has no y")):
        with pytest.raises(UserError, match=rf"a.npz is damaged \(.*{message}") as raised:
            read_arrays(tmp_path / "a.npz", name)
        assert "\n" not in str(raised.value)
    (tmp_path / "b.npz").write_text("text")
    with pytest.raises(UserError, match="b.npz is damaged"):
        read_arrays(tmp_path / "b.npz", "x")
    with pytest.raises(FileNotFoundError):
        read_arrays(tmp_path / "none.npz", "x")


def test_header_that_promises_more_than_there_is_is_refused(tmp_path):
    header = b"{'descr': '<f8', 'fortran_order': False, 'shape': (999999999999,), }"
    header += b" " * (64 - (10 + len(header) + 1) % 64) + b"\n"
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as file:
        file.writestr("x.npy", b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header)
    with pytest.raises(UserError, match="a.npz is damaged"):
        read_arrays(tmp_path / "a.npz", "x")


@pytest.fixture(scope="module")
def arrays(tmp_path_factory):
    path = tmp_path_factory.mktemp("arrays") / "a.npz"
    write_arrays(path, features=np.random.default_rng(0).normal(size=(4, 8)), labels=np.arange(4))
    return path, path.read_bytes(), [array.tobytes() for array in read_arrays(path, "features", "labels")]


@given(st.data())
def test_flipped_bits_are_found_or_change_nothing(arrays, data):
    path, raw, expected = arrays
    at, bit = data.draw(st.integers(0, len(raw) - 1)), data.draw(st.integers(0, 7))
    path.write_bytes(raw[:at] + bytes([raw[at] ^ (1 << bit)]) + raw[at + 1 :])
    found, line = attempt(lambda path: read_arrays(path, "features", "labels"), path)
    assert "\n" not in line
    assert line or [array.tobytes() for array in found] == expected


def test_single_array_comes_back_and_has_no_objects(tmp_path):
    write_array(tmp_path / "deep" / "a.npy", np.arange(6).reshape(2, 3))
    assert read_array(tmp_path / "deep" / "a.npy").tolist() == [[0, 1, 2], [3, 4, 5]]
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["a.npy"]
    np.save(tmp_path / "b.npy", np.array([{}], dtype=object))
    with pytest.raises(UserError, match=r"b.npy is damaged \(.*allow_pickle"):
        read_array(tmp_path / "b.npy")


def test_single_array_of_another_size_than_its_header_says_is_refused(tmp_path):
    write_array(tmp_path / "a.npy", np.arange(6))
    whole = (tmp_path / "a.npy").read_bytes()
    for content in (whole[:-1], whole + b"x", whole.replace(b"(6,)", b"(6000000000000,)")):
        (tmp_path / "a.npy").write_bytes(content)
        with pytest.raises(UserError, match="a.npy is damaged"):
            read_array(tmp_path / "a.npy")
    with pytest.raises(UserError, match="a.npy is larger than 10 bytes"):
        read_array(tmp_path / "a.npy", most=10)
