import json
import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from modprompt.errors import UserError
from modprompt.io.safetensors_files import (
    read_safetensors,
    read_shards,
    read_with_metadata,
    write_safetensors,
)
from modprompt.io.tensors import read_tensors

TYPES = (
    [torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.complex64]
    + [torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool]
)  # fmt: skip


def test_tensors_of_all_types_and_shapes_come_back_in_their_own_memory(tmp_path):
    path, content = tmp_path / "a.safetensors", {str(kind): torch.arange(7).to(kind) for kind in TYPES}
    content |= {"number": torch.tensor(2.5), "none": torch.empty(0, 4), "turned": torch.randn(4, 3).t()}
    write_safetensors(path, content, {"a": "b"})
    found, texts = read_with_metadata(path)
    assert texts == {"a": "b"}
    assert list(read_safetensors(path)) == list(found)
    assert str(path) not in Path("/proc/self/maps").read_text()
    os.truncate(path, 0)
    for name, tensor in content.items():
        assert torch.equal(found[name], tensor), name
        assert found[name].dtype == tensor.dtype


def raw_file(header, tensors=b"", length=None):
    text = json.dumps(header).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text + tensors


def entry(shape=(1,), offsets=(0, 4)):
    return {"dtype": "F32", "shape": list(shape), "data_offsets": list(offsets)}


BAD = {
    "empty": b"",
    "page": b"<!DOCTYPE html><html>Not found</html>",
    "length beyond the file": raw_file({"a": entry()}, bytes(4), 1 << 20),
    "shape larger": raw_file({"a": entry(shape=(2,))}, bytes(4)),
    "offsets overlap": raw_file({"a": entry(), "b": entry()}, bytes(4)),
    "offsets leave a hole": raw_file({"a": entry(), "b": entry(offsets=(8, 12))}, bytes(12)),
    "cut off": raw_file({"a": entry()}, bytes(3)),
    "too long": raw_file({"a": entry()}, bytes(5)),
    "PyTorch's": b"PK\3\4" + bytes(60),
}


@pytest.mark.parametrize("kind", BAD)
def test_what_is_no_whole_file_is_refused_in_a_line(tmp_path, kind):
    path = tmp_path / "a.safetensors"
    path.write_bytes(BAD[kind])
    with pytest.raises(UserError, match=r"a\.safetensors cannot be read as safetensors \(") as raised:
        read_safetensors(path)
    assert "\n" not in str(raised.value)
    with pytest.raises(UserError, match="no file at"):
        read_safetensors(tmp_path / "none")


# ---------------------------------------------------------------------- shards

ONE, TWO = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"
PLACES = {"b": TWO, "a": ONE, "c": ONE}


def write_index(folder, places, name="model.safetensors.index.json"):
    (folder / name).write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": places}))
    return folder / name


@pytest.fixture
def index(tmp_path):
    save_file({"a": torch.full((2,), 1.0), "c": torch.full((2,), 3.0)}, tmp_path / ONE)
    save_file({"b": torch.full((2,), 2.0)}, tmp_path / TWO)
    return write_index(tmp_path, PLACES)


def line_of(index, read=read_safetensors):
    with pytest.raises(UserError) as raised:
        read_shards(index, read)
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_tensors_of_all_files_come_in_the_order_of_the_index(index):
    found = read_shards(index, read_safetensors)
    assert {name: tensor.tolist() for name, tensor in found.items()} == {"b": [2, 2], "a": [1, 1], "c": [3, 3]}
    assert list(found) == list(PLACES)


def test_files_of_pytorch_and_an_index_that_is_a_link_are_read(tmp_path):
    """As a cache of downloads has them: every name of a snapshot is a link to a file of another name elsewhere."""
    (tmp_path / "snapshot").mkdir()
    torch.save({"a": torch.ones(2)}, tmp_path / "0f3a")
    (tmp_path / "snapshot" / "pytorch_model.bin").symlink_to(tmp_path / "0f3a")
    index = tmp_path / "snapshot" / "pytorch_model.bin.index.json"
    index.symlink_to(write_index(tmp_path, {"a": "pytorch_model.bin"}, "77bc"))
    assert torch.equal(read_shards(index, read_tensors)["a"], torch.ones(2))


def test_missing_file_is_named_before_any_is_read(index):
    (index.parent / TWO).unlink()
    assert line_of(index, pytest.fail) == f"{TWO} is missing next to {index}: download it too"


def test_tensor_that_is_not_in_its_file_is_named(index):
    write_index(index.parent, {**PLACES, "d": ONE})
    assert line_of(index) == f"{index.parent / ONE} has no 'd', which {index} says is in it"


@pytest.mark.parametrize("name", ["../a.bin", "/etc/a.bin", "below/a.bin", "a\n.bin", "..", "", None, 3])
def test_names_that_lead_elsewhere_are_refused(tmp_path, name):
    index = write_index(tmp_path, {"a": name})
    assert line_of(index, pytest.fail).endswith("which is not the name of a file next to it")


@pytest.mark.parametrize("text", ["", "<html></html>", "[]", "{}", '{"weight_map": 3}', '{"weight_map": ["a.bin"]}'])
def test_what_is_no_index_is_refused(tmp_path, text):
    (tmp_path / "model.safetensors.index.json").write_text(text)
    assert "is not an index of weights" in line_of(tmp_path / "model.safetensors.index.json")
    assert "no file at" in line_of(tmp_path / "none.index.json")
