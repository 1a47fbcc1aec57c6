import os
import pickle
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from modprompt.errors import UserError
from modprompt.io import flat_tensors, tensors
from modprompt.io.tensors import read_plain, read_tensors, read_weights, write_tensors
from tests.modprompt.io import hostile
from tests.modprompt.io.memory import peak


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


def test_depth_counts_also_where_the_inner_lists_were_gone_through_before(tmp_path):
    inner = b"".join(b"](h\x00eq\x00" for _ in range(2000))
    (tmp_path / "a.pth.tar").write_bytes(hostile.archive(b"](" + b"]q\x00" + inner + b"e"))
    with pytest.raises(UserError, match="nested too deep"):
        read_tensors(tmp_path / "a.pth.tar")


@pytest.mark.parametrize("zipped", [True, False])
def test_tensors_are_put_where_they_are_asked_for(tmp_path, zipped):
    torch.save(
        {"a": torch.ones(3), "b": torch.ones(2).half()}, tmp_path / "a.pt", _use_new_zipfile_serialization=zipped
    )
    found = read_plain(tmp_path / "a.pt", map_location="meta")
    assert {name: (tensor.device.type, tuple(tensor.shape)) for name, tensor in found.items()} == {
        "a": ("meta", (3,)),
        "b": ("meta", (2,)),
    }
    assert read_plain(tmp_path / "a.pt")["a"].tolist() == [1.0, 1.0, 1.0]


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


KINDS = ["archive", "TorchScript", "before 1.6"]


class Module(torch.nn.Module):
    def __init__(self, content):
        super().__init__()
        for name, tensor in content.items():
            self.register_buffer(name, tensor)

    def forward(self, x):
        return x


def write(path, content, kind):
    if kind == "TorchScript":
        torch.jit.save(torch.jit.script(Module(content)), str(path))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=kind == "archive")


@pytest.fixture
def large(monkeypatch):
    """Every archive is a large one."""
    monkeypatch.setattr(tensors, "_MAPPED_FROM", 1)


def weights():
    """Tensors of several types; two share their storage, and one is a part of its."""
    kinds = (torch.float64, torch.float16, torch.bfloat16, torch.complex64, torch.uint8, torch.bool)
    content = {f"a{number}": torch.arange(3000).to(kind) for number, kind in enumerate(kinds)}
    return {**content, "same": content["a0"], "part": torch.randn(50, 40).t()[3:9], "none": torch.empty(0, 3)}


@pytest.mark.filterwarnings("ignore")  # that TorchScript is deprecated
@pytest.mark.parametrize("kind", KINDS)
def test_own_weights_are_no_views_of_the_file(tmp_path, large, kind):
    path, content = tmp_path / "a.pt", weights()
    write(path, content, kind)
    mapped, own = read_weights(path), read_weights(path, own=True)
    assert set(own) == set(mapped) == set(content)
    for name, tensor in content.items():
        assert torch.equal(own[name], tensor), name
        assert (own[name].dtype, own[name].stride()) == (mapped[name].dtype, mapped[name].stride()), name
    assert (str(path) in Path("/proc/self/maps").read_text()) == (kind != "before 1.6")
    del mapped
    assert str(path) not in Path("/proc/self/maps").read_text()
    os.truncate(path, 0)
    assert all(torch.equal(own[name], tensor) for name, tensor in content.items())
    own["a0"][0] = 7
    assert own["same"][0] == 7


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("change", ["cut off", "touched"])
def test_own_weights_of_a_file_that_changes_while_it_is_read_are_refused(tmp_path, monkeypatch, large, kind, change):
    path, read = tmp_path / "a.pt", flat_tensors.Flats.read
    write(path, weights(), kind)
    os.utime(path, ns=(5, 5))

    def and_change(*args):
        os.utime(path, ns=(1, 1)) if change == "touched" else os.truncate(path, 1000)
        return read(*args)

    monkeypatch.setattr(flat_tensors.Flats, "read", and_change)
    with pytest.raises(UserError, match=r"a\.pt is not a whole PyTorch checkpoint") as raised:
        read_weights(path, own=True)
    assert "\n" not in str(raised.value)
    assert change != "touched" or "it was changed while it was read" in str(raised.value)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", KINDS[:2])
def test_memory_of_own_weights_is_that_of_the_tensors(tmp_path, kind):
    write(tmp_path / "a.pt", {f"a{number}": torch.randn(1_250_000) for number in range(80)}, kind)
    assert 0.9 < peak(f"tensors.read_weights({str(tmp_path / 'a.pt')!r}, own=True)") < 1.15


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("unable to mmap 9 bytes: Cannot allocate memory (12)")])
def test_too_little_memory_is_a_line(tmp_path, monkeypatch, error):
    path = tmp_path / "a.pt"
    write_tensors(path, {"w": torch.zeros(1)})

    def none_left(*_):
        raise error

    monkeypatch.setattr("modprompt.io.tensors.load", none_left)
    with pytest.raises(UserError, match="cannot be read: there is not enough memory"):
        read_tensors(path)


def test_optimiser_without_what_it_must_have_is_a_line(tmp_path):
    body = hostile.call("torch.optim.sgd", "SGD") + hostile.table(hostile.text("lr"), b"K\x01") + b"b"
    (tmp_path / "a.pth.tar").write_bytes(hostile.archive(hostile.table(hostile.text("optimizer"), body)))
    with pytest.raises(UserError, match=r"a.pth.tar is not a whole PyTorch checkpoint \('SGD' object has no attribute"):
        tensors.read_run(tmp_path / "a.pth.tar")
