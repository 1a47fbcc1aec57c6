"""Pipes, devices and folders given as files: one line, at once."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from modprompt.errors import UserError
from modprompt.io import safe_open
from modprompt.io.checkpoint_files import newest_checkpoint
from modprompt.io.safe_open import open_regular, read_bytes, read_text
from tests.conftest import ROOT

SIZELESS = Path("/proc/self/status")


@pytest.mark.parametrize("kind", ["pipe", "link to a pipe", "device", "folder"])
def test_what_is_no_file_is_refused_at_once(tmp_path, kind):
    path = tmp_path / "file"
    if "pipe" in kind:
        os.mkfifo(tmp_path / "pipe")
        path.symlink_to("pipe")
        path = tmp_path / "pipe" if kind == "pipe" else path
    elif kind == "device":
        path.symlink_to("/dev/zero")
    else:
        path.mkdir()
    with pytest.raises(UserError, match="not a file: give a regular file") as raised:
        read_text(path)
    assert "\n" not in str(raised.value)


def test_missing_files_stay_missing_files(tmp_path):
    for path in (tmp_path / "a", tmp_path / "a" / "b"):
        with pytest.raises(FileNotFoundError):
            open_regular(path)
    (tmp_path / "file").write_text("x")
    with pytest.raises(FileNotFoundError):
        open_regular(tmp_path / "file" / "below")


def test_links_are_followed_to_read_and_too_large_files_are_not_read(tmp_path):
    (tmp_path / "real").write_bytes(b"a\r\nb\r")
    (tmp_path / "link").symlink_to("real")
    assert read_text(tmp_path / "link") == "a\nb\n"
    with pytest.raises(UserError, match="larger than 3 bytes"):
        read_bytes(tmp_path / "link", 3)
    (tmp_path / "real").write_bytes(b"\xff")
    with pytest.raises(UserError, match="not UTF-8 text"):
        read_text(tmp_path / "link")


@pytest.mark.skipif(not SIZELESS.exists(), reason="needs a file whose reported size is none")
def test_file_whose_reported_size_is_none_is_read_whole():
    assert SIZELESS.stat().st_size == 0
    lines = read_text(SIZELESS).splitlines()
    assert lines[0].startswith("Name:")
    assert len(lines) > 20
    with pytest.raises(UserError, match="larger than 9 bytes"):
        read_bytes(SIZELESS, 9)


@pytest.mark.parametrize("said", [0, 1, 70_000, 1 << 17])
def test_size_that_is_reported_too_small_cuts_nothing_off(said, tmp_path, monkeypatch):
    content = bytes(range(256)) * 1024
    (tmp_path / "file").write_bytes(content)
    fstat = os.fstat

    class Facts:
        st_size = said

        def __init__(self, number):
            self.st_mode = fstat(number).st_mode

    monkeypatch.setattr(safe_open.os, "fstat", Facts)
    assert read_bytes(tmp_path / "file", len(content)) == content
    with pytest.raises(UserError, match="larger than"):
        read_bytes(tmp_path / "file", len(content) - 1)


@pytest.mark.skipif(not SIZELESS.exists(), reason="needs a file whose reported size is none")
def test_memory_is_not_asked_for_all_that_a_file_may_have():
    program = (
        "import resource\nfrom modprompt.io.safe_open import read_bytes\n"
        "resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))\n"
        "assert len(read_bytes('/proc/self/status', 1 << 40)) > 500"
    )
    subprocess.run([sys.executable, "-c", program], check=True, cwd=ROOT, timeout=60)


def test_pointer_leads_to_no_checkpoint_elsewhere(tmp_path):
    (tmp_path / "run").mkdir()
    np.savez(tmp_path / "model-other")
    for word in ("../model-other.npz", str(tmp_path / "model-other.npz"), "", "model/../../model-other.npz"):
        (tmp_path / "run" / "checkpoint").write_text(word)
        with pytest.raises(UserError, match="there is: nothing"):
            newest_checkpoint(str(tmp_path / "run"))
