import ast
import io
import os
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
from tqdm import tqdm

from modprompt import programs
from modprompt.errors import UserError
from modprompt.programs import report
from tests.conftest import ROOT


def raising(error):
    def program():
        raise error

    return program


@pytest.mark.parametrize(
    "error", [UserError("a\n  b"), FileNotFoundError("a b"), FloatingPointError("a b"), ImportError("a b")]
)
def test_what_a_user_can_put_right_is_one_line_and_exit_code_two(error, capsys):
    assert programs.report(raising(error)) == 2
    assert capsys.readouterr() == ("", "error: a b\n")


def test_error_without_a_message_is_told_by_its_type():
    assert programs.one_line(OSError()) == "OSError"


def test_error_of_a_worker_is_the_last_line_of_what_it_says():
    text = "Caught UserError in DataLoader worker process 0.\nTraceback (most recent call last):\n  ...\nm.UserError: a: b\n"
    assert programs.one_line(UserError(text)) == "a: b"


def test_traceback_is_shown_on_request(monkeypatch, capsys):
    monkeypatch.setenv("MODPROMPT_TRACEBACK", "1")
    assert programs.report(raising(UserError("a"))) == 2
    assert "Traceback (most recent call last)" in capsys.readouterr().err


def test_fault_of_the_program_comes_out():
    with pytest.raises(TypeError):
        programs.report(raising(TypeError("ours")))


@pytest.mark.parametrize(("words", "said"), [(["interrupted; go on"], "interrupted; go on\n"), ([], "interrupted\n")])
def test_interruption_says_how_to_go_on(words, said, capsys):
    with programs.ending(*words) as end:
        raise KeyboardInterrupt
    assert end.code == 130
    assert capsys.readouterr().err == said


@pytest.mark.parametrize(
    ("error", "said"), [(MemoryError(), "error: not enough memory"), (KeyboardInterrupt(), "inte")]
)
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
    assert [programs.report(lambda given=given: given) for given in (None, 0, 1, 3, True, "x", [1])] == [
        0, 0, 1, 3, 0, 0, 0,
    ]  # fmt: skip


def environment(unbuffered):
    return {**os.environ, "PYTHONUNBUFFERED": unbuffered}


PRINTS = """
import sys
from modprompt import programs
def program():
    for _ in range({lines}):
        print("x" * 1000)
    {end}
sys.exit(programs.report(program))
"""


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize(
    ("lines", "end"), [(1, "pass"), (5000, "pass"), (1, "sys.exit(0)"), (1, "raise ValueError('a')")]
)
def test_nobody_who_reads_ends_a_program_without_a_word(lines, end, unbuffered):
    reads, writes = os.pipe()
    os.close(reads)
    words = [sys.executable, "-c", PRINTS.format(lines=lines, end=end)]
    done = subprocess.run(
        words, stdout=writes, stderr=subprocess.PIPE, text=True, timeout=60, env=environment(unbuffered)
    )
    os.close(writes)
    error = end.startswith("raise") and not unbuffered
    assert (done.returncode, done.stderr) == ((2, "error: a\n") if error else (141, ""))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is full")
def test_full_disk_behind_standard_output_is_one_line():
    with Path("/dev/full").open("w") as full:
        words = [sys.executable, "-c", PRINTS.format(lines=1, end="pass")]
        done = subprocess.run(words, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60, env=environment(""))
    assert (done.returncode, done.stderr) == (2, "error: cannot write the output (No space left on device)\n")


def test_log_says_why_it_ends_where_nobody_reads(monkeypatch):
    class Logger(io.StringIO):
        file = io.StringIO()

        def flush(self):
            raise BrokenPipeError

    monkeypatch.setattr(sys, "stdout", Logger())
    assert programs.report(raising(BrokenPipeError())) == 141
    assert Logger.file.getvalue() == "error: nobody reads what is printed any more\n"


@pytest.mark.filterwarnings("default::UserWarning")
def test_program_gets_its_arguments_and_its_warnings_are_lines(capsys):
    seen = []
    assert programs.report(lambda *words: seen.extend(words) or warnings.warn("take care", stacklevel=1), "a", "b") == 0
    assert seen == ["a", "b"]
    assert capsys.readouterr().err == "warning: take care\n"


def test_log_is_closed_and_the_console_is_back(monkeypatch):
    console, log = io.StringIO(), io.StringIO()
    monkeypatch.setattr(sys, "stdout", log)
    programs.close_log(console)
    assert sys.stdout is console
    assert (log.closed, console.closed) == (True, False)
    programs.close_log(console)
    assert not console.closed


def test_every_bar_is_silent_where_there_is_no_terminal():
    asked = {}
    for path in (*(ROOT / "modprompt").rglob("*.py"), *(ROOT / "lpclip").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "tqdm":
                given = [ast.unparse(word.value) for word in node.keywords if word.arg == "disable"]
                asked.setdefault(path.name, []).append(given[0] if given else "")
    assert set(asked.pop("progress.py")) == {"not self.live", ""}  # rows, where it is live
    assert {one for given in asked.values() for one in given} == {
        "None",
        "silent",
        "True if len(starts) == 1 else None",
    }
    assert len(asked) > 8
