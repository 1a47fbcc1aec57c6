"""The benchmark of choosing says seconds and memory of every acquisition."""

import re

import pytest

from benchmarks import active
from modprompt.data.rounds import METHODS

WORDS = ["--images", "60", "--classes", "5", "--width", "8", "--wanted", "20"]


@pytest.mark.parametrize("method", METHODS)
def test_a_line_says_seconds_and_memory(method, capsys):
    assert active.main([*WORDS, "--only", method]) == 0
    assert re.fullmatch(rf"{method}: \d+\.\d s, peak \d+\.\d\d GB\n", capsys.readouterr().out)


def test_each_has_a_process_of_its_own_and_one_that_fails_is_said(monkeypatch, capsys):
    started = []
    monkeypatch.setattr(active.subprocess, "call", lambda words: started.append(words[-1]) or words[-1] == "badge")
    assert active.main(WORDS) == 1
    assert started == list(METHODS)
    assert capsys.readouterr().out == "20 of 60 images, 5 classes, 8 features\n"
