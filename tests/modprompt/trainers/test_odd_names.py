"""Folders, classes and images whose names are no UTF-8 text: a run like any other, or one line."""

import os

import pytest

from modprompt.cli import train
from modprompt.io import result
from tests.conftest import write_eurosat


@pytest.fixture
def root(tmp_path):
    """Data sets in a folder whose name is no UTF-8 text, nor is that of an image."""
    root = write_eurosat(tmp_path / os.fsdecode(b"d\xe4ta"))
    images = root / "eurosat" / "2750"
    (images / "Forest" / "Forest_1.jpg").rename(images / "Forest" / os.fsdecode(b"\xff\n1.jpg"))
    return root


@pytest.mark.slow
def test_run_on_such_names_is_a_run_and_finished_once(root, mpl_flags, mpl_options, tmp_path, capsys, monkeypatch):
    out = tmp_path / os.fsdecode(b"\xff\xfeout")
    flags = [*mpl_flags]
    flags[flags.index("--root") + 1], flags[flags.index("--output-dir") + 1] = str(root), str(out)
    words = [*flags, "--once", *mpl_options[:-2]]
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert train.main(words) == 0, capsys.readouterr().err
    assert result.read(out).result is not None
    assert "\\udc" in (out / "log.txt").read_text(encoding="utf-8")
    capsys.readouterr()
    assert train.main(words) == 0
    assert "This run is already finished: " in capsys.readouterr().out


def test_class_without_a_name_is_a_line(root, mpl_flags, mpl_options, capsys):
    images = root / "eurosat" / "2750"
    (images / "River").rename(images / os.fsdecode(b"R\xef"))
    flags = [*mpl_flags]
    flags[flags.index("--root") + 1] = str(root)
    assert train.main([*flags, *mpl_options]) == 2
    assert "is not valid UTF-8. Rename the folder." in capsys.readouterr().err
