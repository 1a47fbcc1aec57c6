import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from modprompt.io import flat_tensors, safetensors_files
from modprompt.io.safetensors_files import names_and_shapes, read_safetensors
from tests.conftest import ROOT
from tests.modprompt.io import hostile
from tests.modprompt.io.memory import peak

READERS = {"tensors": read_safetensors, "names and shapes": names_and_shapes}
TYPES = (
    [torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.complex64]
    + [torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool]
)  # fmt: skip


def state():
    content = {str(kind): torch.arange(7).to(kind) for kind in TYPES}
    return {**content, "number": torch.tensor(2.5), "none": torch.empty(0, 4), "deep": torch.randn(2, 3, 4, 1)}


def raw_file(header, tensors=b"", length=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text + tensors


def entry(kind="F32", shape=(1,), offsets=(0, 4)):
    return {"dtype": kind, "shape": list(shape), "data_offsets": list(offsets)}


def line_of(read, path):
    _, line = hostile.attempt(read, path)
    assert str(path) in line
    assert "\n" not in line
    assert len(line) < len(str(path)) + 300
    return line


def test_tensors_of_all_types_and_shapes_come_back(tmp_path):
    content = state()
    save_file(content, tmp_path / "a.safetensors", metadata={"format": "pt"})
    found = read_safetensors(str(tmp_path / "a.safetensors"))
    assert set(found) == set(content)
    for name, tensor in content.items():
        assert torch.equal(found[name], tensor), name
        assert (found[name].dtype, found[name].shape) == (tensor.dtype, tensor.shape), name
        assert found[name].is_contiguous()
        assert not found[name].requires_grad
    assert names_and_shapes(tmp_path / "a.safetensors") == {name: tuple(value.shape) for name, value in content.items()}


def test_file_without_tensors_has_none(tmp_path):
    (tmp_path / "a.safetensors").write_bytes(raw_file({"__metadata__": {"a": "b"}}))
    for read in READERS.values():
        assert read(tmp_path / "a.safetensors") == {}


def test_file_may_be_written_over_and_cut_off_afterwards(tmp_path):
    path, content = tmp_path / "a.safetensors", {"a": torch.randn(1000, 300), "b": torch.randn(5)}
    save_file(content, path)
    found = read_safetensors(path)
    assert str(path) not in Path("/proc/self/maps").read_text()
    path.write_bytes(bytes(path.stat().st_size))
    os.truncate(path, 0)
    assert all(torch.equal(found[name], content[name]) for name in content)
    found["a"].zero_()
    assert path.stat().st_size == 0
    assert torch.equal(found["b"], content["b"])  # tensors share nothing


@pytest.mark.parametrize("change", ["written over", "grown", "touched"])
def test_file_that_changes_while_it_is_read_is_refused(tmp_path, monkeypatch, change):
    path = tmp_path / "a.safetensors"
    save_file({"a": torch.ones(10), "b": torch.ones(10)}, path)
    raw, read = path.read_bytes(), flat_tensors.Flats.read

    def and_change(*args):
        if change == "touched":
            os.utime(path, ns=(1, 1))
        else:
            path.write_bytes(raw[:-4] + bytes(4) if change == "written over" else raw + b"x")
        return read(*args)

    os.utime(path, ns=(5, 5))
    monkeypatch.setattr(flat_tensors.Flats, "read", and_change)
    assert "it was changed while it was read" in line_of(read_safetensors, path)


def test_file_that_is_cut_off_while_it_is_read_is_refused(tmp_path, monkeypatch):
    path, read = tmp_path / "a.safetensors", flat_tensors.Flats.read
    save_file({"a": torch.ones(10), "b": torch.ones(10_000)}, path)

    def and_cut(*args):
        os.truncate(path, 200)
        return read(*args)

    monkeypatch.setattr(flat_tensors.Flats, "read", and_cut)
    assert "it was cut off while it was read" in line_of(read_safetensors, path)


def test_new_file_in_its_place_is_not_mixed_into_what_is_read(tmp_path, monkeypatch):
    path, read = tmp_path / "a.safetensors", flat_tensors.Flats.read
    save_file({"a": torch.ones(10), "b": torch.ones(10)}, path)
    save_file({"a": torch.zeros(10), "b": torch.zeros(10)}, tmp_path / "new")

    def and_replace(*args):
        if (tmp_path / "new").exists():
            (tmp_path / "new").replace(path)
        return read(*args)

    monkeypatch.setattr(flat_tensors.Flats, "read", and_replace)
    assert all(torch.equal(tensor, torch.ones(10)) for tensor in read_safetensors(path).values())
    assert all(torch.equal(tensor, torch.zeros(10)) for tensor in read_safetensors(path).values())


BAD = {
    "empty": (b"", "it is empty"),
    "short": (b"\1\0\0", "the file at 3: it is cut off or no such file"),
    "page": (b"<!DOCTYPE html><html>Not found</html>", "its header would end at byte"),
    "length beyond the file": (raw_file({"a": entry()}, bytes(4), 1 << 20), "its header would end at byte 1,048,584"),
    "shape larger": (raw_file({"a": entry(shape=(2,))}, bytes(4)), "cut off, damaged or no such file"),
    "shape overflows": (raw_file({"a": entry(shape=(1 << 62, 1 << 62))}, bytes(4)), "cut off, damaged or no such file"),
    "offsets overlap": (raw_file({"a": entry(), "b": entry()}, bytes(4)), "cut off, damaged or no such file"),
    "offsets leave a hole": (raw_file({"a": entry(), "b": entry(offsets=(8, 12))}, bytes(12)), "cut off, damaged or no such file"),
    "offsets beyond": (raw_file({"a": entry(offsets=(1 << 40, (1 << 40) + 4))}, bytes(4)), "cut off, damaged or no such file"),
    "cut off": (raw_file({"a": entry()}, bytes(3)), "cut off, damaged or no such file"),
    "too long": (raw_file({"a": entry()}, bytes(5)), "cut off, damaged or no such file"),
    "twice": (
        raw_file(f'{{"a": {json.dumps(entry())}, "a": {json.dumps(entry())}}}'.encode(), bytes(4)),
        "its header names something twice",
    ),
    "PyTorch's": (hostile.archive(b"}"), "it is a zip archive, as torch.save writes, under another name"),
    "pointer": (
        b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 605143884\n",
        "is a Git LFS pointer, not the file that it stands for: download the real one",
    ),
}  # fmt: skip


@pytest.mark.parametrize("read", READERS.values(), ids=READERS)
@pytest.mark.parametrize(("raw", "reason"), BAD.values(), ids=BAD)
def test_what_is_no_whole_file_is_refused_in_a_line(tmp_path, read, raw, reason):
    path = tmp_path / "a.safetensors"
    path.write_bytes(raw)
    assert reason in line_of(read, path)


@pytest.mark.parametrize("kind", ["F8_E4M3", "U16"])
def test_types_that_are_not_read_are_named(tmp_path, kind):
    size = 1 if "8" in kind else 2
    path = tmp_path / "a.safetensors"
    path.write_bytes(raw_file({"a": entry(kind, offsets=(0, size))}, bytes(size)))
    assert f"its tensor 'a' has type {kind}, which is not read" in line_of(read_safetensors, path)
    assert names_and_shapes(path) == {"a": (1,)}


@pytest.mark.parametrize("read", READERS.values(), ids=READERS)
def test_package_that_is_not_there_is_named(tmp_path, monkeypatch, read):
    save_file({"a": torch.ones(2)}, tmp_path / "a.safetensors")
    monkeypatch.setitem(sys.modules, "safetensors", None)
    assert line_of(read, tmp_path / "a.safetensors").endswith("not installed: pip install safetensors")


def test_file_is_read_where_the_system_does_not_name_open_files(tmp_path, monkeypatch):
    monkeypatch.setattr(safetensors_files, "_OPEN_FILES", str(tmp_path / "nowhere"))
    save_file({"a": torch.ones(2)}, tmp_path / "a.safetensors")
    assert torch.equal(read_safetensors(tmp_path / "a.safetensors")["a"], torch.ones(2))


def test_machine_of_the_other_byte_order_reads_no_wrong_numbers(tmp_path, monkeypatch):
    save_file({"a": torch.ones(2)}, tmp_path / "a.safetensors")
    monkeypatch.setattr(sys, "byteorder", "big")
    assert "the other byte order" in line_of(read_safetensors, tmp_path / "a.safetensors")


def test_headers_need_no_pytorch(tmp_path):
    save_file({"a": torch.ones(2, 3)}, tmp_path / "a.safetensors")
    text = "import sys\nfrom modprompt.io.safetensors_files import names_and_shapes\n"
    text += "assert names_and_shapes(sys.argv[1]) == {'a': (2, 3)}\nassert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", text, str(tmp_path / "a.safetensors")], check=True, cwd=ROOT)


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 80])
def test_memory_is_that_of_the_tensors(tmp_path, count):
    save_file({f"a{i}": torch.randn(100_000_000 // count) for i in range(count)}, tmp_path / "a.safetensors")
    assert 0.9 < peak(f"read_safetensors({str(tmp_path / 'a.safetensors')!r})") < 1.15
