"""MATLAB's files: what SciPy writes is read as SciPy reads it; what is damaged is a line, and never ends the process."""

import io
import struct
import zlib

import numpy as np
import pytest
from scipy.io import loadmat, savemat

from modprompt.io.mat_files import read_mat
from modprompt.io.safe_open import Refused


def struct_of(count):
    rows = np.empty((1, count), [("fname", object), ("class", object)])
    for number in range(count):
        rows[0, number] = (f"{number:05d}.jpg", np.array([[number]], np.uint8))
    return rows


CONTENTS = {
    "numbers": {"a": np.arange(12.0).reshape(3, 4), "b": np.arange(5, dtype=np.uint8)[None], "c": np.float32(1.5)},
    "three sides": {"a": np.arange(24, dtype=np.int16).reshape(2, 3, 4)},
    "texts": {"a": "a word", "b": np.array(["one", "three"]), "c": "", "d": "\u00e9t\u00e9"},
    "cells": {"names": np.array([["AM General 2000", "Ram C/V 2012"]], object), "none": np.zeros((1, 0), object)},
    "structs": {"annotations": struct_of(4)},
    "truth": {"a": np.array([[True, False]])},
}


def equal(one, other):
    if one.dtype == object or one.dtype.names:
        assert one.shape == other.shape
        assert one.dtype.names == other.dtype.names
        fields = one.dtype.names or [...]
        return all(equal(a, b) for name in fields for a, b in zip(one[name].reshape(-1), other[name].reshape(-1)))
    return one.shape == other.shape and one.dtype == other.dtype and bool((one == other).all())


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("name", list(CONTENTS))
def test_what_scipy_writes_is_read_as_scipy_reads_it(tmp_path, name, packed):
    path = tmp_path / "a.mat"
    savemat(path, CONTENTS[name], do_compression=packed)
    found, expected = read_mat(path), loadmat(path)
    assert sorted(found) == sorted(key for key in expected if not key.startswith("__"))
    for key, value in found.items():
        assert equal(value, expected[key]), key


def whole(content=CONTENTS["structs"], packed=False):
    stream = io.BytesIO()
    savemat(stream, content, do_compression=packed)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "no file of MATLAB 5"),
        (b"x" * 200, "no file of MATLAB 5"),
        (whole()[:300], "cut off"),
        (whole({"a": np.array([[1j]])}), "complex numbers"),
        (whole()[:128] + struct.pack("<2I", 15, 4) + b"abcd", "damaged"),
        (whole()[:128] + struct.pack("<2I", 15, 9) + zlib.compress(b"")[:9], "cut off"),
        (whole()[:128] + struct.pack("<2I", 9, 8) + bytes(8), "type 9 in place of an array"),
    ],
)
def test_other_files_are_refused(tmp_path, content, why):
    (tmp_path / "a.mat").write_bytes(content)
    with pytest.raises(Refused, match=why):
        read_mat(tmp_path / "a.mat")


@pytest.mark.slow
def test_bomb_is_refused(tmp_path):
    packer = zlib.compressobj(9)
    packed = b"".join(packer.compress(bytes(1 << 20)) for _ in range(300)) + packer.flush()
    (tmp_path / "a.mat").write_bytes(whole()[:128] + struct.pack("<2I", 15, len(packed)) + packed)
    with pytest.raises(Refused, match="larger than 268,435,456 bytes"):
        read_mat(tmp_path / "a.mat")


def nested(levels):
    matrix = b""
    for _ in range(levels):
        flags = struct.pack("<4I", 6, 8, 1, 0)
        inner = flags + struct.pack("<2I2i", 5, 8, 1, 1) + struct.pack("<2I", 1, 0)
        inner += struct.pack("<2I", 14, len(matrix)) + matrix
        matrix = inner
    return whole()[:128] + struct.pack("<2I", 14, len(matrix)) + matrix


def test_cells_in_cells_have_an_end(tmp_path):
    (tmp_path / "a.mat").write_bytes(nested(5))
    assert list(read_mat(tmp_path / "a.mat")) == [""]
    (tmp_path / "a.mat").write_bytes(nested(1000))
    with pytest.raises(Refused, match="deeper than 20 levels"):
        read_mat(tmp_path / "a.mat")
