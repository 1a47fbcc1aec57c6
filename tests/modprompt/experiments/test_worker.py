"""One run from start to end: what is left when it succeeds, fails, is stopped, or is somebody else's."""

import json
import os
import pickle
import signal
import subprocess
import sys
import time

import pytest

from modprompt.experiments.running import state, worker
from modprompt.io import folder as run_folder
from tests.conftest import ROOT
from tests.modprompt.experiments.conftest import has_ended, starts
from tests.modprompt.experiments.fakes import finish


@pytest.fixture
def task(quick, jobs, tmp_path):
    """Makes the task of a training under some behaviour."""

    def make(**how):
        quick(**how)
        return quick.task_of(jobs[4], tmp_path, tmp_path)

    return make


def folder_of(jobs, tmp_path):
    return tmp_path / jobs[4].folder


def wait_for(condition, seconds=60.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.02)


def test_run_leaves_a_result_and_its_console(task, jobs, tmp_path):
    assert worker.Run(task()).wait() == worker.DONE
    assert state.of(jobs[4], tmp_path).name == "finished"
    assert "epoch [1/2]" in (folder_of(jobs, tmp_path) / state.CONSOLE).read_text()


def test_finished_run_is_not_started(task, jobs, tmp_path):
    finish(jobs[4], tmp_path, 50.0)
    assert worker.Run(task()).wait() == worker.DONE
    assert starts(folder_of(jobs, tmp_path)) == 0


def test_failure_is_recorded_with_its_last_line_until_the_next_start(task, jobs, tmp_path):
    assert worker.Run(task(error="there is no such file")).wait() == worker.FAILED
    failure = json.loads((folder_of(jobs, tmp_path) / state.FAILURE).read_text())
    assert (failure["line"], failure["exit"]) == ("error: there is no such file", 1)
    assert state.of(jobs[4], tmp_path)[:2] == ("failed", "error: there is no such file")
    assert worker.Run(task()).wait() == worker.DONE
    assert not (folder_of(jobs, tmp_path) / state.FAILURE).exists()


def test_run_of_somebody_else_is_left_alone(task, jobs, tmp_path, monkeypatch):
    monkeypatch.setattr(run_folder.take, "__defaults__", (0.1,))
    held = run_folder.take(folder_of(jobs, tmp_path))
    assert worker.Run(task()).wait() == worker.BUSY
    assert starts(folder_of(jobs, tmp_path)) == 0
    held.release()


def test_end_without_a_result_is_a_failure(task, jobs, tmp_path):
    quiet = task()._replace(command=(sys.executable, "-c", "print('nothing to test')"))
    assert worker.Run(quiet).wait() == worker.FAILED
    assert state.of(jobs[4], tmp_path).why == "ended without a result; before: nothing to test"


@pytest.mark.parametrize(
    ("code", "name", "why"),
    [
        ("os.kill(os.getpid(), 9)", "failed", "killed by SIGKILL (out of memory?); before: hello"),
        ("os.kill(os.getpid(), 15)", "waiting", ""),
        ("sys.exit(130)", "waiting", ""),
    ],
)
def test_killed_is_a_failure_and_stopped_is_none(task, jobs, tmp_path, code, name, why):
    words = (sys.executable, "-c", f"import os, sys; print('hello', flush=True); {code}")
    assert worker.Run(task()._replace(command=words)).wait() == worker.FAILED
    assert state.of(jobs[4], tmp_path)[:2] == (name, why)


def test_newest_log_is_log_txt(task, jobs, tmp_path):
    folder = folder_of(jobs, tmp_path)
    folder.mkdir(parents=True)
    (folder / "log.txt").write_text("an unfinished start")
    assert worker.Run(task()).wait() == worker.DONE
    assert "accuracy: 50.0%" in (folder / "log.txt").read_text()
    (older,) = folder.glob("log.txt-*")
    assert older.read_text() == "an unfinished start"


def test_last_line_is_what_a_progress_bar_shows_last(tmp_path):
    path = tmp_path / "console.txt"
    path.write_text("start\n  0%|    | 0/9\r 50%|##  | 4/9\r\n\n")
    assert state.last_line(path) == "50%|##  | 4/9"
    path.write_bytes(b"x" * 20_000 + b"\n\xff\xfe end\n")
    assert state.last_line(path).endswith("end")
    assert state.last_line(tmp_path / "none") == ""


def test_signal_in_the_middle_of_waiting_ends_the_child(task, jobs, tmp_path):
    """As submitit's handler does it: stop() interrupts wait() in the same thread."""
    code = (
        "import pickle, signal, sys\n"
        "from modprompt.experiments.running.worker import Run, stop\n"
        "run = Run(pickle.load(sys.stdin.buffer))\n"
        "def handler(*_):\n    stop([run], 2.0)\n    sys.exit(7)\n"
        "signal.signal(signal.SIGUSR2, handler)\n"
        "run.wait()\n"
    )
    folder = folder_of(jobs, tmp_path)
    with subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdin=subprocess.PIPE) as process:
        process.stdin.write(pickle.dumps(task(seconds=60)))
        process.stdin.close()
        wait_for(lambda: starts(folder))
        child = int((folder / "starts.txt").read_text())
        os.kill(child, signal.SIGUSR2)  # the cluster signals the whole run; the child leaves it to the worker
        time.sleep(0.2)  # until it waits
        process.send_signal(signal.SIGUSR2)
        assert process.wait(60) == 7
    assert has_ended(child)
    assert state.of(jobs[4], tmp_path) == state.State("waiting")


def test_console_is_not_written_through_a_link(task, jobs, tmp_path):
    console = folder_of(jobs, tmp_path) / state.CONSOLE
    console.parent.mkdir(parents=True)
    console.symlink_to(tmp_path / "elsewhere")
    assert worker.Run(task()).wait() == worker.DONE
    assert not (tmp_path / "elsewhere").exists()
    assert "epoch [1/2]" in console.read_text()


@pytest.mark.parametrize("ends", [0, 2])
def test_folder_that_went_meanwhile_is_the_reason(task, jobs, tmp_path, ends):
    folder = folder_of(jobs, tmp_path)
    code = f"import shutil, sys; shutil.rmtree({str(folder)!r}); sys.exit({ends})"
    assert worker.Run(task()._replace(command=(sys.executable, "-c", code))).wait() == worker.FAILED
    stands = state.of(jobs[4], tmp_path)
    assert stands[:2] == ("failed", f"its output folder {run_folder.GONE}")


def test_run_that_lost_its_folder_to_another_writes_nothing_there(task, jobs, tmp_path, monkeypatch):
    folder, others = folder_of(jobs, tmp_path), []

    def start(*_):
        folder.rename(tmp_path / "aside")
        others.append(run_folder.take(folder))
        return subprocess.Popen([sys.executable, "-c", "pass"])

    assert worker.Run(task(), start).wait() == worker.FAILED
    assert [path.name for path in folder.rglob("*") if path.is_file()] == ["lock"]
    others[0].release()


def test_run_by_hand_that_was_faster_is_waited_for(task, jobs, tmp_path):
    folder, others = folder_of(jobs, tmp_path), []

    def start(*_):
        others.append(run_folder.take(folder))
        return subprocess.Popen([sys.executable, "-c", "import sys; print('another run is at work'); sys.exit(2)"])

    assert worker.Run(task(), start).wait() == worker.BUSY
    assert state.of(jobs[4], tmp_path) == state.State("running")
    others[0].release()
    assert state.of(jobs[4], tmp_path) == state.State("waiting")


def test_second_worker_leaves_the_run_to_the_first(task, jobs, tmp_path):
    asked = []

    def start(*_):
        asked.append((worker.Run(task()).wait(), state.of(jobs[4], tmp_path).name))
        return subprocess.Popen([sys.executable, "-c", "pass"])

    assert worker.Run(task(), start).wait() == worker.FAILED
    assert asked == [(worker.BUSY, "running")]


def test_folder_that_cannot_be_written_is_one_line(task, jobs, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    made = task()
    assert worker.Run(made._replace(out=tmp_path / "file")).wait() == worker.FAILED
    assert capsys.readouterr().err.startswith(f"error: {tmp_path / 'file' / jobs[4].folder}: ")
