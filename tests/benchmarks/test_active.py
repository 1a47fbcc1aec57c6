"""Both sides of the benchmark of choosing choose the same, and its lines say what was measured."""

import argparse
import contextlib
import io
import re
import subprocess

import numpy as np
import pytest

from benchmarks import active, plain_active
from benchmarks.active import Size
from modprompt.active import badge

FEW = Size(60, 5, 8, 20)
WORDS = ["--images", "60", "--classes", "5", "--features", "8", "--candidates", "20", "--rounds", "2"]


def test_whole_embeddings_choose_what_ours_chooses():
    there = active.seen(FEW)
    assert plain_active.embeddings(there).shape == (60, 40)
    np.random.seed(0)
    wanted = plain_active.badge(there, 20)
    np.random.seed(0)
    assert badge.badge(there, 20).positions == wanted


def test_sides_that_choose_other_images_are_an_error(monkeypatch):
    monkeypatch.setattr(plain_active, "badge", lambda there, number: [0])
    with pytest.raises(RuntimeError, match="the sides choose other images"):
        active.against_whole(FEW, 1, "cpu")


def in_this_process(words, **_):
    """What a program that the benchmark starts would give, by its words."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        code = active.main(words[3:])
    return subprocess.CompletedProcess(words, code, said.getvalue(), "")


def test_lines_say_seconds_memory_and_a_ratio(monkeypatch, capsys):
    monkeypatch.setattr(active.subprocess, "run", in_this_process)
    monkeypatch.setattr(active, "SMALL", FEW)
    assert active.main(WORDS) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4
    for line, name in zip(lines[1:], ("badge", "coreset")):
        size = "20 of 60 images, 5 classes, 8 features"
        assert re.match(rf"{name}, {size}: \d+.\d s, peak \d.\d\d GB \(asked for, .*: 600 s, 6 GB\)$", line)
    assert re.match(
        r"badge, whole embeddings / ours, 20 of 60 .*: [\d.]+ / [\d.]+ s, ratio [\d.]+ \(rounds: ", lines[3]
    )


def test_acquisition_that_fails_is_said(monkeypatch):
    failed = subprocess.CompletedProcess([], 1, "", "Traceback\nMemoryError: so much\n")
    monkeypatch.setattr(active.subprocess, "run", lambda *_, **__: failed)
    args = argparse.Namespace(threads=1, clock="cpu", **FEW._asdict())
    with pytest.raises(RuntimeError, match="badge failed: .*MemoryError: so much"):
        active.in_own_process("badge", args)
