import json

import pytest
import torch
from safetensors.torch import save_file

from modprompt.errors import UserError
from modprompt.io.safetensors_files import read_safetensors
from modprompt.io.shards import read_shards, shard_names
from modprompt.io.tensors import read_weights
from tests.modprompt.io import hostile

ONE, TWO, THREE = (f"model-0000{number}-of-00003.safetensors" for number in (1, 2, 3))
PLACES = {"b": TWO, "a": ONE, "c": THREE, "d": ONE}


def write_index(folder, places, name="model.safetensors.index.json"):
    (folder / name).write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": places}))
    return folder / name


def write(folder, places=PLACES, held=PLACES):
    """An index, and files that hold what `held` says."""
    for number, name in enumerate(sorted(set(held.values()))):
        save_file({key: torch.full((2,), number + 1.0) for key, place in held.items() if place == name}, folder / name)
    return write_index(folder, places)


def line_of(index, read=read_safetensors):
    _, line = hostile.attempt(lambda path: read_shards(path, read), index)
    assert str(index) in line
    assert "\n" not in line
    return line


def test_tensors_of_all_files_come_in_the_order_of_the_index(tmp_path):
    index = write(tmp_path)
    assert shard_names(index) == [ONE, TWO, THREE]
    found = read_shards(index, read_safetensors)
    assert list(found) == list(PLACES)
    assert {name: tensor.tolist() for name, tensor in found.items()} == {
        "a": [1, 1],
        "b": [2, 2],
        "c": [3, 3],
        "d": [1, 1],
    }


def test_files_of_pytorch_and_an_index_that_is_a_link_are_read(tmp_path):
    """As a cache of downloads has them: every name of a snapshot is a link to a file of another name elsewhere."""
    (tmp_path / "snapshot").mkdir()
    torch.save({"a": torch.ones(2)}, tmp_path / "0f3a")
    (tmp_path / "snapshot" / "pytorch_model-00001-of-00001.bin").symlink_to(tmp_path / "0f3a")
    real = write_index(tmp_path, {"a": "pytorch_model-00001-of-00001.bin"}, "77bc")
    index = tmp_path / "snapshot" / "pytorch_model.bin.index.json"
    index.symlink_to(real)
    assert shard_names(index) == ["pytorch_model-00001-of-00001.bin"]
    assert torch.equal(read_shards(index, read_weights)["a"], torch.ones(2))


def test_missing_file_is_named_before_any_is_read(tmp_path):
    index = write(tmp_path)
    (tmp_path / TWO).unlink()
    assert shard_names(index) == [ONE, TWO, THREE]
    assert line_of(index, pytest.fail) == f"{TWO} is missing next to {index}: download it too"
    (tmp_path / TWO).symlink_to("nothing")
    assert f"{TWO} is missing next to" in line_of(index, pytest.fail)


@pytest.mark.parametrize(
    ("held", "reason"),
    [
        ({**PLACES, "d": TWO}, f"{ONE} has no 'd', which"),
        ({name: place for name, place in PLACES.items() if name != "d"}, f"{ONE} has no 'd', which"),
        ({**PLACES, "e": TWO}, f"{TWO} has 'e', which"),
    ],
)
def test_index_and_files_that_do_not_agree_are_refused(tmp_path, held, reason):
    assert reason in line_of(write(tmp_path, held=held))


def test_tensor_that_is_in_two_files_is_refused(tmp_path):
    index = write(tmp_path)
    save_file({"c": torch.ones(2), "a": torch.ones(2)}, tmp_path / THREE)
    assert line_of(index) == f"{tmp_path / THREE} has 'a', which {index} says is in {ONE}"


def test_fault_of_a_file_is_that_of_its_reader(tmp_path):
    index = write(tmp_path)
    (tmp_path / TWO).write_bytes(b"")
    with pytest.raises(UserError, match=f"{TWO} cannot be read as safetensors"):
        read_shards(index, read_safetensors)


@pytest.mark.parametrize(
    "name",
    [
        "../a.bin", "/etc/a.bin", "below/a.bin", "..\\a.bin", "below\\a.bin", "C:a.bin", "a..bin", ".a.bin", ".bin", "",
        "..", "a.pt", "a.bin.txt", "a.BIN", "a\0.bin", "a\n.bin", "a.bin\n", "http://a/b.bin", None, 3, ["a.bin"],
    ],
)  # fmt: skip
def test_names_that_lead_elsewhere_are_refused(tmp_path, name):
    index = write_index(tmp_path, {"a": "a.bin", "b": name})
    (tmp_path / "a.bin").write_bytes(b"")
    for read in (shard_names, lambda path: read_shards(path, pytest.fail)):
        _, line = hostile.attempt(read, index)
        assert line == f"{index} names {str(name)!r}, which is not the name of a .safetensors or .bin file next to it"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "is damaged or no index of weights"),
        ("[]", 'it has no "weight_map"'),
        ("{}", 'it has no "weight_map"'),
        ('{"weight_map": {}}', 'it has no "weight_map"'),
        ('{"weight_map": ["a.bin"]}', 'it has no "weight_map"'),
        ('{"weight_map": {"a": "a.bin", "a": "b.bin"}}', "it names 'a' twice"),
        ('{"weight_map": {"a": "a.bin"}, "weight_map": {"a": "b.bin"}}', "it names 'weight_map' twice"),
        ("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 9\n", "is a Git LFS pointer"),
    ],
)
def test_what_is_no_index_is_refused_in_a_line(tmp_path, text, reason):
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(text)
    for read in (shard_names, lambda path: read_shards(path, pytest.fail)):
        _, line = hostile.attempt(read, index)
        assert line.startswith(str(index))
        assert reason in line
        assert "\n" not in line
