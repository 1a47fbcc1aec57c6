"""Hostile files: a few of what tests/campaign tries, and every bit of a small frame."""

from __future__ import annotations

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from modprompt.errors import UserError
from modprompt.io import tensors
from modprompt.io.tensors import read_tensors, read_weights
from tests.campaign.torch_files import READERS
from tests.campaign.values import plain
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
