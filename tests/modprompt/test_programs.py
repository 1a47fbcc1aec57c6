import io
import os
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
from tqdm import tqdm

from modprompt import programs
from modprompt.errors import UserError, WaitsForLabels
from modprompt.programs import report
from tests.conftest import ROOT


def raising(error):
    def program():
        raise error

    return program


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (UserError("a\n  b"), 2, "error: a b"),
        (FileNotFoundError("a b"), 2, "error: a b"),
        (FloatingPointError("a b"), 2, "error: a b"),
        (ImportError("a b"), 2, "error: a b"),
        (OSError(), 2, "error: OSError"),
        (MemoryError(), 2, "error: not enough memory"),
        (
            BrokenPipeError(32, "Broken pipe"),
            2,
            "error: a file, stream or connection could not be read or written (Broken pipe)",
        ),
        (WaitsForLabels("label a.csv"), 3, "waiting: label a.csv"),
        (UserError("in worker 0.\nTraceback (most recent call last):\n  ...\nm.UserError: a: b\n"), 2, "error: a: b"),
    ],
)
def test_what_a_user_can_put_right_is_one_line_and_an_exit_code(error, code, said, capsys):
    assert report(raising(error)) == code
    assert capsys.readouterr().err == f"{said}\n"


def test_traceback_is_shown_on_request(monkeypatch, capsys):
    monkeypatch.setenv("MODPROMPT_TRACEBACK", "1")
    assert report(raising(UserError("a"))) == 2
    assert "Traceback (most recent call last)" in capsys.readouterr().err


def test_fault_of_the_program_comes_out_and_is_in_the_log(monkeypatch):
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    sys.stdout.file = io.StringIO()
    with pytest.raises(TypeError):
        report(raising(TypeError("ours")))
    assert sys.stdout.file.getvalue().endswith("TypeError: ours\n")


@pytest.mark.parametrize(("words", "said"), [(["interrupted; go on"], "interrupted; go on\n"), ([], "Interrupted.\n")])
def test_interruption_says_how_to_go_on(words, said, capsys):
    with programs.ending(*words) as end:
        raise KeyboardInterrupt
    assert end.code == 130
    assert capsys.readouterr().err == said


@pytest.mark.parametrize(("error", "said"), [(MemoryError(), "error: not enough"), (KeyboardInterrupt(), "Inte")])
def test_what_ended_it_does_not_stand_behind_a_bar(error, said, capsys):
    def program():
        looking = iter(tqdm(range(2), desc="looking"))  # the traceback keeps it, as it does a comprehension's
        next(looking)
        raise error

    assert report(program) != 0
    *_, looked, line = capsys.readouterr().err.splitlines()
    assert looked.startswith("looking:")
    assert line.startswith(said)


def test_exit_code_of_the_program_is_kept_and_nothing_else_is_one():
    given = {None: 0, 0: 0, 1: 1, 3: 3, "x": 0}
    assert [report(lambda code=code: code) for code in given] == [*given.values()]


PRINTS = """
import sys
from modprompt import programs
def program():
    for _ in range({lines}):
        print("x" * 1000)
    {end}
sys.exit(programs.report(program))
"""


def printing(lines, end, where, unbuffered=""):
    words = [sys.executable, "-c", PRINTS.format(lines=lines, end=end)]
    given = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
    done = subprocess.run(words, stdout=where, stderr=subprocess.PIPE, text=True, timeout=60, env=given, cwd=ROOT)
    return done.returncode, done.stderr


@pytest.mark.parametrize(
    ("lines", "end", "unbuffered", "said"),
    [
        (5000, "pass", "", (141, "")),
        (1, "pass", "1", (141, "")),
        (1, "sys.exit(0)", "", (141, "")),
        (1, "raise ValueError('a')", "", (2, "error: a\n")),
        (1, "raise ValueError('a')", "1", (141, "")),
    ],
)
def test_nobody_who_reads_ends_a_program_without_a_word(lines, end, unbuffered, said):
    reads, writes = os.pipe()
    os.close(reads)
    assert printing(lines, end, writes, unbuffered) == said
    os.close(writes)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is full")
@pytest.mark.parametrize(
    ("end", "said"), [("pass", "cannot write the output (No space left on device)."), ("raise ValueError('a')", "a")]
)
def test_full_disk_behind_standard_output_is_one_line(end, said):
    with Path("/dev/full").open("w") as full:
        assert printing(1, end, full) == (2, f"error: {said}\n")


@pytest.mark.filterwarnings("default::UserWarning")
def test_program_gets_its_arguments_and_its_warnings_are_lines(capsys):
    seen = []
    assert report(lambda *words: seen.extend(words) or warnings.warn("take care", stacklevel=1), "a", "b") == 0
    assert seen == ["a", "b"]
    assert capsys.readouterr().err == "warning: take care\n"


def test_log_is_closed_and_the_console_is_back(monkeypatch):
    console, log = io.StringIO(), io.StringIO()
    monkeypatch.setattr(sys, "stdout", log)
    for _ in range(2):
        programs.close_log(console)
        assert sys.stdout is console
        assert (log.closed, console.closed) == (True, False)
