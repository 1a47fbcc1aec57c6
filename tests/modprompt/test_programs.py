import io
import sys
import warnings

import pytest

from modprompt import programs
from modprompt.errors import UserError


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


def test_interruption_says_how_to_go_on(capsys):
    assert programs.report(raising(KeyboardInterrupt())) == 130
    assert "interrupted; the same command goes on" in capsys.readouterr().err


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
