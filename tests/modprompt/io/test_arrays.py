import subprocess
import sys
import zipfile

import numpy as np
import pytest

from modprompt.errors import UserError
from modprompt.io.arrays import read_all_arrays, read_array, read_arrays, write_array, write_arrays
from tests.conftest import ROOT


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
    for name, message in (("x", "neither numbers nor texts"), ("y", "it has no y")):
        with pytest.raises(UserError, match=rf"a.npz is damaged \(.*{message}") as raised:
            read_arrays(tmp_path / "a.npz", name)
        assert "\n" not in str(raised.value)
    (tmp_path / "b.npz").write_text("text")
    with pytest.raises(UserError, match="b.npz is damaged"):
        read_arrays(tmp_path / "b.npz", "x")
    with pytest.raises(FileNotFoundError):
        read_arrays(tmp_path / "none.npz", "x")


def test_single_array_comes_back_and_has_no_objects(tmp_path):
    write_array(tmp_path / "deep" / "a.npy", np.arange(6).reshape(2, 3))
    assert read_array(tmp_path / "deep" / "a.npy").tolist() == [[0, 1, 2], [3, 4, 5]]
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["a.npy"]
    np.save(tmp_path / "b.npy", np.array([{}], dtype=object))
    with pytest.raises(UserError, match=r"b.npy is damaged \(.*neither numbers nor texts"):
        read_array(tmp_path / "b.npy")


def test_single_array_of_another_size_than_its_header_says_is_refused(tmp_path):
    write_array(tmp_path / "a.npy", np.arange(6))
    whole = (tmp_path / "a.npy").read_bytes()
    for content in (whole[:-1], whole + b"x", whole.replace(b"(6,)", b"(6000000000000,)")):
        (tmp_path / "a.npy").write_bytes(content)
        with pytest.raises(UserError, match="a.npy is damaged"):
            read_array(tmp_path / "a.npy")


def npy(header, content=b""):
    """A .npy text with a header as given."""
    text = header.encode("latin1")
    text += b" " * (64 - (len(text) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + content


def saying(descr, shape, content=b""):
    return npy(repr({"descr": descr, "fortran_order": False, "shape": shape}), content)


@pytest.mark.parametrize(
    "text",
    [
        saying("<f8", (10**10,)),
        saying("<f8", (2**62, 4)),
        saying("<f8", (0, 10**18)),
        saying("<f8", (-1, -1), bytes(8)),
        saying("<f8", (True,), bytes(8)),
        saying("<f8", (10**30,)),
        saying("|V0", (10**9,)),
        saying("<U0", (10**10,)),
        saying("<U100000000", (3,)),
        saying("|O", (1,), bytes(8)),
        saying("<M8[s]", (1,), bytes(8)),
        saying([("a", "<f8")], (1,), bytes(8)),
        saying("<f8", (1,) * 65, bytes(8)),
        npy("{'descr': '<f8', 'fortran_order': False, 'shape': (" + "9" * 5000 + ",)}"),
        npy("{'descr': " + "(" * 3000 + ")" * 3000 + "}"),
        b"\x93NUMPY\x03\x00" + saying("<f8", (1,), bytes(8))[8:],
    ],
    ids=lambda text: repr(text[10:70]),
)
def test_headers_are_held_against_the_size_before_memory_is_asked_for(text, tmp_path, monkeypatch):
    asked, plain = [], np.lib.format.read_array
    monkeypatch.setattr(np.lib.format, "read_array", lambda *words, **more: asked.append(1) or plain(*words, **more))
    (tmp_path / "a.npy").write_bytes(text)
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as file:
        file.writestr("a.npy", text)
    for read, name in ((read_array, "a.npy"), (read_all_arrays, "a.npz")):
        with pytest.raises(UserError, match="is damaged") as raised:
            read(tmp_path / name)
        assert len(str(raised.value).splitlines()) == 1
        assert len(str(raised.value)) < 400
    assert not asked


def test_too_little_memory_is_a_line(tmp_path):
    write_arrays(tmp_path / "a.npz", a=np.zeros(1 << 24))
    code = (
        "import resource, sys; from modprompt.io.arrays import read_all_arrays; from modprompt.programs import report;"
        "size = int(open('/proc/self/statm').read().split()[0]) * resource.getpagesize() + (64 << 20);"
        "resource.setrlimit(resource.RLIMIT_AS, (size, size)); sys.exit(report(read_all_arrays, sys.argv[1]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "a.npz")], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 2, done.stderr
    assert done.stderr == f"error: {tmp_path / 'a.npz'} cannot be read: there is not enough memory\n"
