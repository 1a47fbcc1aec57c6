import os
import pickle
import subprocess

import numpy as np
import pytest
import torch

from modprompt.errors import UserError
from modprompt.storage.tensors import read_tensors


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
