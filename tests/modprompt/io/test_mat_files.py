"""MATLAB's files: damage is a line, and never ends the process."""

import subprocess
import sys

import numpy as np
import pytest
from scipy.io import savemat

from modprompt.io.arrays import read_mat
from modprompt.io.safe_open import Refused

ROWS = np.array([[("1.jpg", 3), ("2.jpg", 5)]], [("fname", object), ("class", object)])


@pytest.fixture
def path(tmp_path):
    savemat(tmp_path / "a.mat", {"labels": np.array([[1, 2, 3]], np.uint8), "annotations": ROWS}, do_compression=True)
    return tmp_path / "a.mat"


def test_variables_come_by_name(path):
    found = read_mat(path)
    assert sorted(found) == ["annotations", "labels"]
    assert found["labels"].tolist() == [[1, 2, 3]]
    assert [(row["fname"].item(), row["class"].item()) for row in found["annotations"][0]] == [
        ("1.jpg", 3),
        ("2.jpg", 5),
    ]


@pytest.mark.parametrize("kind", ["empty", "page", "cut off", "flipped"])
def test_other_files_are_refused_in_a_line(path, kind):
    whole = path.read_bytes()
    flipped = whole[:200] + bytes([whole[200] ^ 1]) + whole[201:]
    path.write_bytes({"empty": b"", "page": b"<html></html>" * 20, "cut off": whole[:-9], "flipped": flipped}[kind])
    with pytest.raises(Refused) as raised:
        read_mat(path)
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) <= 160


def test_file_that_ends_its_reader_does_not_end_this_process(path, monkeypatch):
    run = subprocess.run
    code = "import os; os.kill(os.getpid(), 11)"
    monkeypatch.setattr(subprocess, "run", lambda words, **more: run([sys.executable, "-c", code], **more))
    with pytest.raises(Refused, match="reading it ended the reader"):
        read_mat(path)
