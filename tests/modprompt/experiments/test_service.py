"""A worker process takes one task after the other, and its end, however it comes, is told from its answers."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest

from modprompt import places
from modprompt.experiments.running import service, state, worker
from tests.conftest import ROOT
from tests.modprompt.experiments.conftest import has_ended, starts


def waited_for(condition, seconds=60.0):
    end = time.monotonic() + seconds
    while (found := condition()) is None or found is False:
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.02)
    return found


@pytest.fixture
def channels():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield service.Channel(ours), service.Channel(theirs)


def test_values_arrive_one_by_one_also_in_parts(channels):
    one, other = channels
    assert other.receive(waits=False) is None
    long = {"words": "x" * 1_000_000}
    sender = threading.Thread(target=lambda: [one.send({"a": 1}), one.send(long)])
    sender.start()
    assert other.receive() == {"a": 1}
    assert other.receive() == long
    sender.join()
    one.connection.sendall(b'{"b"')
    assert other.receive(waits=False) is None
    one.connection.sendall(b": 2}\n")
    assert other.receive(waits=False) == {"b": 2}


def test_end_of_the_other_side_is_an_error_and_not_waited_for(channels):
    one, other = channels
    one.connection.close()
    other.wait()
    with pytest.raises(EOFError):
        other.receive(waits=False)
    with pytest.raises(BrokenPipeError):
        other.send({"a": 1})


@pytest.fixture
def process():
    """A worker process, ended with the test."""
    made = service.WorkerProcess([], {**os.environ, **places.environment()})
    yield made
    made.end()


def test_tasks_run_one_after_the_other_in_one_process(process, quick, jobs, tmp_path):
    for job, expected in ((jobs[0], worker.DONE), (jobs[1], worker.FAILED), (jobs[2], worker.DONE)):
        quick(error="broken") if expected == worker.FAILED else quick()
        assert process.ask(quick.task_of(job, tmp_path, tmp_path))
        assert waited_for(process.answer) == expected
    assert not process.ended()
    assert [state.of(job, tmp_path).name for job in jobs[:3]] == ["finished", "failed", "finished"]


def test_folder_that_cannot_be_written_fails_and_the_worker_goes_on(process, quick, jobs, tmp_path):
    (tmp_path / "file").write_text("")
    process.ask(quick.task_of(jobs[0], tmp_path, tmp_path)._replace(folder=str(tmp_path / "file/run")))
    assert waited_for(process.answer) == worker.FAILED
    process.ask(quick.task_of(jobs[0], tmp_path, tmp_path))
    assert waited_for(process.answer) == worker.DONE


def test_killed_worker_answers_and_takes_no_more_and_its_run_goes_on(process, quick, jobs, tmp_path):
    quick(seconds=1.0)
    task = quick.task_of(jobs[0], tmp_path, tmp_path)
    process.ask(task)
    waited_for(lambda: starts(tmp_path / jobs[0].folder) > 0)
    process.process.kill()
    assert waited_for(process.answer) == worker.FAILED
    assert not process.ask(task)
    assert state.of(jobs[0], tmp_path).name == "running"
    waited_for(lambda: state.of(jobs[0], tmp_path).name == "finished")


@pytest.mark.parametrize("busy", [False, True])
def test_worker_ends_with_whoever_started_it_behind_its_last_run(process, quick, jobs, tmp_path, busy):
    if busy:
        quick(seconds=0.5)
        process.ask(quick.task_of(jobs[0], tmp_path, tmp_path))
        waited_for(lambda: starts(tmp_path / jobs[0].folder) > 0)
    process.channel.connection.close()
    waited_for(process.ended)
    assert process.process.wait() == 0
    assert state.of(jobs[0], tmp_path).name == ("finished" if busy else "waiting")


def test_end_kills_the_run_too(process, quick, jobs, tmp_path):
    quick(seconds=60)
    process.ask(quick.task_of(jobs[0], tmp_path, tmp_path))
    folder = tmp_path / jobs[0].folder
    waited_for(lambda: starts(folder) > 0)
    child = int((folder / "starts.txt").read_text())
    process.end()
    waited_for(lambda: has_ended(child))
    assert process.answer() == worker.FAILED


def test_user_signals_of_a_group_do_not_end_a_run(process, quick, jobs, tmp_path):
    quick(seconds=0.5)
    process.ask(quick.task_of(jobs[0], tmp_path, tmp_path))
    folder = tmp_path / jobs[0].folder
    waited_for(lambda: starts(folder) > 0)
    os.kill(int((folder / "starts.txt").read_text()), signal.SIGUSR1)
    assert waited_for(process.answer) == worker.DONE


def test_worker_that_nobody_can_ask_says_who_would():
    words = [sys.executable, "-m", "modprompt.cli.warm"]
    done = subprocess.run(words, cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert done.stderr == "error: standard input is not a socket: `modprompt experiment run` starts this program\n"
