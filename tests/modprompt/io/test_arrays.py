import numpy as np
import pytest

from modprompt.errors import UserError
from modprompt.io.arrays import read_all_arrays, read_array, read_arrays, write_array, write_arrays


@pytest.mark.parametrize("packed", [False, True])
def test_arrays_come_back_by_name(tmp_path, packed):
    path = tmp_path / "deep" / "a.npz"
    write_arrays(path, packed=packed, x=np.arange(6).reshape(2, 3), y=np.float64(2.5), z=np.array(["ä", "b"]))
    x, y = read_arrays(path, "x", "y")
    assert x.tolist() == [[0, 1, 2], [3, 4, 5]]
    assert y == 2.5
    assert read_all_arrays(path)["z"].tolist() == ["ä", "b"]
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["a.npz"]


def test_single_array_comes_back(tmp_path):
    write_array(tmp_path / "deep" / "a.npy", np.arange(6).reshape(2, 3))
    assert read_array(tmp_path / "deep" / "a.npy").tolist() == [[0, 1, 2], [3, 4, 5]]
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["a.npy"]


def contents(tmp_path):
    objects = np.array([{"a": 1}], dtype=object)
    write_arrays(tmp_path / "whole.npz", x=np.arange(600))
    write_array(tmp_path / "whole.npy", np.arange(600))
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


def test_array_that_is_not_there_is_named(tmp_path):
    write_arrays(tmp_path / "a.npz", x=np.zeros(1))
    with pytest.raises(UserError, match="a.npz is damaged .*y is not a file"):
        read_arrays(tmp_path / "a.npz", "y")


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
