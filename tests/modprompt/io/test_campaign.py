"""Hostile files and flipped bits: a few of what tests/campaign tries, and every bit of a small frame."""

from __future__ import annotations

import collections
import random

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from modprompt.clip import reading
from modprompt.errors import UserError
from modprompt.io import tensors
from modprompt.io.tensors import read_tensors, read_weights
from tests.campaign.torch_files import READERS
from tests.campaign.values import plain
from tests.conftest import random_clip
from tests.modprompt.io import hostile, hostile_files

pytestmark = pytest.mark.filterwarnings("ignore")  # TorchScript is made for the files


@settings(max_examples=40, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
@given(drawn=st.data())
def test_hostile_files_are_refused_or_read_as_plain_values(tmp_path, drawn):
    target, path = tmp_path / "canary", tmp_path / "file"
    path.write_bytes(drawn.draw(st.one_of(*hostile_files.kinds(target).values())))
    for read in READERS.values():
        content, line = hostile.attempt(read, path)
        assert len(str(content)) < 10_000
        assert "\n" not in line
        assert len(line) < 400
        assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def clip_archive(path):
    model = random_clip(text_layers=1, vision_layers=1, vision_width=64)
    inputs = (torch.zeros(1, 3, 32, 32), torch.zeros(1, 77, dtype=torch.long))
    torch.jit.save(torch.jit.trace(model, inputs, check_trace=False), str(path))


def write_files(folder):
    """One file of each kind, with its reader."""
    torch.manual_seed(0)
    learner = {f"prompt_learner.{name}": torch.randn(2, 64).half() for name in "abcd"}
    optimiser = torch.optim.SGD([torch.nn.Parameter(torch.randn(3))], lr=0.1, momentum=0.9)
    run = {"state_dict": learner, "epoch": 5, "val_result": 93.7, "made_with": {"a": "1"}, "settings": {"b": "2"}}
    state = {
        "epoch": 3,
        "models": {"m": learner},
        "optims": {"m": optimiser.state_dict()},
        "random": torch.get_rng_state(),
    }
    clip = {
        "text_projection": torch.randn(8, 8),
        "positional_embedding": torch.randn(4),
        "ln_final.weight": torch.ones(4),
    }
    contents = {"checkpoint": run, "training state": state, "CLIP file": clip}
    for name, content in contents.items():
        torch.save(content, folder / name)
    clip_archive(folder / "TorchScript")
    return {name: READERS.get(name, reading.read_file) for name in (*contents, "TorchScript")}


def flips(folder, count):
    """Flip one bit at a time, spread over the kinds; half of them in what is not tensors."""
    rng, outcome = random.Random(0), collections.Counter()
    for name, read in write_files(folder).items():
        path = folder / name
        raw = path.read_bytes()
        expected = plain(read(path))
        small = [0, len(raw) - 2000] if len(raw) > 1 << 20 else [0]
        for number in range(count // 4):
            at = rng.choice(small) + rng.randrange(min(2000, len(raw))) if number % 2 else rng.randrange(len(raw))
            at = min(at, len(raw) - 1)
            bit = 1 << rng.randrange(8)
            path.write_bytes(raw[:at] + bytes([raw[at] ^ bit]) + raw[at + 1 :])
            content, line = hostile.attempt(read, path)
            assert "\n" not in line
            same = bool(line) or plain(content) == expected
            assert same, (name, at, bit)
            outcome["found" if line else "harmless"] += 1
        path.unlink()
    return outcome


def test_flipped_bits_are_found_or_change_nothing(tmp_path):
    assert flips(tmp_path, 60)["found"] > 40


def test_every_bit_of_a_small_archives_frame_is_found_or_changes_nothing(tmp_path):
    """Headers, names, padding, directory and end: what no CRC covers."""
    path = tmp_path / "file"
    torch.save({"a": torch.arange(3)}, path)
    raw, expected = path.read_bytes(), plain(read_tensors(path))
    start = raw.index(b"PK\1\2")
    for at in [*range(0, 120), *range(start, len(raw))]:
        path.write_bytes(raw[:at] + bytes([raw[at] ^ (1 << at % 8)]) + raw[at + 1 :])
        content, line = hostile.attempt(read_tensors, path)
        assert "\n" not in line
        assert line or plain(content) == expected, at


def test_large_files_are_mapped_and_checked(tmp_path, monkeypatch):
    monkeypatch.setattr(tensors, "_MAPPED_FROM", 1000)
    path = tmp_path / "file"
    torch.save({"a": torch.arange(5000), "b": torch.ones(7).half()}, path)
    found = read_weights(path)
    assert torch.equal(found["a"], torch.arange(5000))
    moved = path.rename(tmp_path / "old")  # a new file in its place changes nothing
    torch.save({"a": torch.zeros(5000)}, path)
    assert torch.equal(found["a"], torch.arange(5000))
    raw = bytearray(moved.read_bytes())
    raw[raw.index(torch.arange(100, 120).numpy().tobytes())] ^= 1
    moved.write_bytes(bytes(raw))
    with pytest.raises(UserError, match="is damaged: its bytes do not have the CRC"):
        read_weights(moved)
