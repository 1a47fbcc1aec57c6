import os
import pickle
import subprocess
import time

import numpy as np
import pytest
import torch

from modprompt.errors import UserError
from modprompt.storage.tensors import read_tensors
from tests.modprompt.storage import hostile


class Evil:
    def __reduce__(self):
        return subprocess.call, (["touch", os.environ.get("EVIL_MARK", "/nonexistent/mark")],)


@pytest.mark.parametrize("zipped", [True, False])
def test_file_that_would_run_something_is_refused(tmp_path, monkeypatch, zipped):
    mark = tmp_path / "mark"
    monkeypatch.setenv("EVIL_MARK", str(mark))
    torch.save({"state_dict": {}, "x": Evil()}, tmp_path / "e.pth", _use_new_zipfile_serialization=zipped)
    with pytest.raises(UserError, match=r"asks for \w+.call, which"):
        read_tensors(tmp_path / "e.pth")
    assert not mark.exists()


@pytest.mark.parametrize("name", ["eval", "getattr", "__import__"])
def test_builtins_are_refused(tmp_path, name):
    (tmp_path / "e.pth").write_bytes(b"\x80\x02cbuiltins\n" + name.encode() + b"\nq\x00.")
    with pytest.raises(UserError, match="not a whole PyTorch checkpoint"):
        read_tensors(tmp_path / "e.pth")


@pytest.mark.parametrize("zipped", [True, False])
def test_tensors_and_plain_values_come_back(tmp_path, zipped):
    content = {
        "a": torch.arange(3),
        "b": [torch.nn.Parameter(torch.ones(2).half())],
        "c": np.float64(1.5),
        "d": (1, "x"),
    }
    torch.save(content, tmp_path / "c.pth", _use_new_zipfile_serialization=zipped)
    again = read_tensors(tmp_path / "c.pth")
    assert torch.equal(again["a"], content["a"])
    assert torch.equal(again["b"][0], content["b"][0])
    assert again["c"] == 1.5
    assert again["d"] == (1, "x")


def test_missing_and_foreign_files_are_named(tmp_path):
    with pytest.raises(UserError, match=r"no checkpoint at .*nothing.pth"):
        read_tensors(tmp_path / "nothing.pth")
    (tmp_path / "t.pth").write_text("hello")
    with pytest.raises(UserError, match=r"t.pth is not a whole PyTorch checkpoint"):
        read_tensors(tmp_path / "t.pth")
    (tmp_path / "p.pth").write_bytes(pickle.dumps({"a": 1}))
    with pytest.raises(UserError):
        read_tensors(tmp_path / "p.pth")


def _number(value):
    raw = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8a" + bytes([len(raw)]) + raw


_COLLIDING = [_number(i * ((1 << 61) - 1)) for i in range(1, 30_000)]  # one hash for all: 6 s for a table of them


@pytest.mark.parametrize(
    "body",
    [
        hostile.table(*(number + b"N" for number in _COLLIDING)),
        hostile.call("builtins", "set", b"](" + b"".join(_COLLIDING) + b"e"),
        hostile.call("numpy", "dtype", hostile.text(",".join(["i4"] * 2_000_000)), b"\x89", b"\x88"),
        # copies of one large thing that nothing refers to
        b"](" + b"K\x01" * 60_000 + b"eq\x00" + (hostile.name("builtins", "set") + b"h\x00\x85R") * 3000 + b"}",
        b"(" + b"K\x01" * 60_000 + b"tq\x00" + (hostile.name("torch", "Size") + b"h\x00\x85R") * 30_000 + b"}",
        hostile.text("a" * 1_000_000)
        + b"q\x00"
        + (hostile.name("_codecs", "encode") + b"h\x00" + hostile.text("latin1") + b"\x86R") * 3000
        + b"}",
        b"}q\x00("
        + b"".join(b"M" + i.to_bytes(2, "little") + b"N" for i in range(60_000))
        + b"u"
        + hostile.call("collections", "OrderedDict")
        + b"h\x00b" * 100_000
        + b"}",
    ],
    ids=["keys", "set", "numpy type", "copies", "sizes", "bytes", "attributes"],
)
def test_small_file_that_would_keep_a_loader_busy_is_refused_at_once(tmp_path, body):
    (tmp_path / "a.pth.tar").write_bytes(hostile.archive(body))
    start = time.process_time()
    with pytest.raises(UserError, match="a.pth.tar is not a whole PyTorch checkpoint"):
        read_tensors(tmp_path / "a.pth.tar")
    assert time.process_time() - start < 5


def test_identities_of_parameters_are_keys(tmp_path):
    """As optimisers had them before PyTorch 1.5."""
    state = {"state": {140_234_567_890_123: {"step": 1}, 0: {}, -1: {}}}
    torch.save(state, tmp_path / "a.pth.tar")
    assert read_tensors(tmp_path / "a.pth.tar") == state


def test_safetensors_are_said_to_be_no_file_of_pytorch(tmp_path):
    header = b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'
    (tmp_path / "a.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))
    with pytest.raises(UserError, match="it is none of PyTorch's files"):
        read_tensors(tmp_path / "a.safetensors")
