"""Runs that a warm worker forks have the numbers and consoles of programs of their own, and its end is not theirs."""

import contextlib
import os
import re
import signal
import time
from pathlib import Path

import pytest

from modprompt import places
from modprompt.experiments.running import service, state, worker
from modprompt.io import folder as run_folder
from modprompt.io import lock
from modprompt.io.records import read_json
from tests.modprompt.experiments.test_service import waited_for

PATIENCE_S = 120.0


@pytest.fixture
def started(tmp_path, monkeypatch):
    """Starts worker processes; each imports a module `seen` first, of which this gives the file."""
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "sitecustomize.py").write_text("import seen\n")
    (mine / "seen.py").write_text("")
    monkeypatch.setenv("PYTHONPATH", str(mine))
    with contextlib.ExitStack() as stack:

        def start(*flags):
            made = service.WorkerProcess(list(flags), {**os.environ, **places.environment(), "PYTHONUNBUFFERED": "1"})
            stack.callback(made.end)
            return made

        start.seen = mine / "seen.py"
        yield start


@pytest.fixture
def task(mpl_flags, mpl_options, tmp_path):
    """Makes the task of a real run of its own folder, of the small MPL; further options behind."""

    def make(name, *options):
        words = [*mpl_flags, *mpl_options, *options]
        words[words.index("--output-dir") + 1] = str(tmp_path / name)
        return worker.Task(str(tmp_path / name), tuple(places.program("train", *words)), {}, tests=False, parent="")

    return make


def done(process, task):
    """Run a task to its end; the worker's answer and the result."""
    assert process.ask(task)
    answer = waited_for(process.answer, PATIENCE_S)
    return answer, read_json(Path(task.folder) / "result.json")


def console_of(task):
    """What a run said, without its folder and its times."""
    text = (Path(task.folder) / state.CONSOLE).read_text().replace(task.folder, "FOLDER")
    text = re.sub(r".*\d%\|.*\n?", "", text)  # a progress bar
    text = re.sub(r"\d+:\d\d:\d\d", "TIME", text)
    return re.sub(r"(time|data) [\d.]+ \([\d.]+\)", "TIME", text).splitlines()


TIMES = {"elapsed_s", "training_s", "testing_s", "peak_gib", "image_files", "modprompt"}
FOLDERS = {"OUTPUT_DIR"}


def facts(result):
    settings = {key: text for key, text in result["settings"].items() if key not in FOLDERS}
    return {**{key: value for key, value in result.items() if key not in TIMES}, "settings": settings}


@pytest.mark.slow
def test_forked_runs_are_those_of_programs_of_their_own(started, task):
    cold, warm = started("--cold"), started()
    of_cold, first, second = task("cold"), task("first"), task("second")
    assert done(warm, task("other", "DATALOADER.NUM_WORKERS", "2", "OPTIM.LR", "0.1"))[1] is not None
    results = [done(process, one) for process, one in ((cold, of_cold), (warm, first))]
    assert done(warm, task("wrong", "OPTIM.RL", "1"))[0] == worker.FAILED
    results.append(done(warm, second))
    assert results[0][1]["prompts_hash"]
    assert [facts(result) for _, result in results] == [facts(results[0][1])] * 3
    assert console_of(of_cold) == console_of(first) == console_of(second)
    failure = read_json(Path(task("wrong").folder) / state.FAILURE)
    assert failure["exit"] == 2
    assert failure["line"].startswith("error: command line: there is no config key 'OPTIM.RL'")
    assert warm.notes == cold.notes == []


@pytest.mark.slow
def test_runs_without_a_seed_differ(started, task):
    process, hashes = started(), set()
    for name in ("one", "other"):
        made = task(name)
        words = list(made.command)
        del words[words.index("--seed") : words.index("--seed") + 2]
        hashes.add(done(process, made._replace(command=tuple(words)))[1]["prompts_hash"])
    assert len(hashes) == 2


@pytest.mark.slow
def test_changed_file_is_imported_anew_and_told(started, task):
    process = started()
    assert done(process, task("one", "OPTIM.MAX_EPOCH", "1"))[1] is not None
    started.seen.write_text("import sys; sys.of_the_new_file = True")
    assert done(process, task("other", "OPTIM.MAX_EPOCH", "1"))[1] is not None
    (note,) = process.notes
    assert note.startswith(f"{started.seen} has changed (")
    assert note.endswith("): runs import it anew")


@pytest.mark.slow
def test_worker_that_may_not_fork_starts_programs_and_tells_why(started, task):
    started.seen.write_text("import threading; threading.Thread(target=threading.Event().wait, daemon=True).start()")
    process = started()
    result = done(process, task("one", "OPTIM.MAX_EPOCH", "1"))[1]
    assert result is not None
    assert process.notes == ["each run starts with its own imports: what they import starts threads"]


def child_of(process):
    """The run of a worker process."""
    text = Path(f"/proc/{process.process.pid}/task/{process.process.pid}/children").read_text().split()
    return int(text[0]) if text else None


def in_training(process, task):
    """Ask for a long run; its process, once it trains."""
    process.ask(task)
    console = Path(task.folder) / state.CONSOLE
    waited_for(lambda: process.answer() or (console.exists() and "epoch [2/" in console.read_text()), PATIENCE_S)
    assert not process.ended()
    return child_of(process)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_killed_run_is_told_as_a_program_would_be_and_the_next_is_forked(started, task, number):
    process, long = started(), task("long", "OPTIM.MAX_EPOCH", "500")
    os.kill(in_training(process, long), number)
    assert waited_for(process.answer) == worker.FAILED
    failure = read_json(Path(long.folder) / state.FAILURE)
    if number == signal.SIGKILL:
        assert failure["exit"] == -9
        assert failure["line"].startswith("killed by SIGKILL (out of memory?); before: epoch [")
    else:
        assert failure is None
    assert not run_folder.is_held(long.folder)
    assert done(process, task("next", "OPTIM.MAX_EPOCH", "1"))[1] is not None


@pytest.mark.slow
def test_run_of_a_killed_worker_goes_on_under_its_lock(started, task):
    process, long = started(), task("long", "OPTIM.MAX_EPOCH", "500")
    child = in_training(process, long)
    process.process.kill()
    assert waited_for(process.answer) == worker.FAILED
    assert run_folder.is_held(long.folder)
    with pytest.raises(lock.Busy):
        run_folder.take(long.folder, 0.1)
    os.kill(child, signal.SIGTERM)
    waited_for(lambda: not run_folder.is_held(long.folder))


@pytest.mark.slow
def test_interrupted_run_says_so_and_goes_on_later(started, task):
    process, long = started(), task("long", "OPTIM.MAX_EPOCH", "500")
    os.kill(in_training(process, long), signal.SIGINT)
    assert waited_for(process.answer) == worker.FAILED
    assert "interrupted; the same command goes on after the last whole epoch" in console_of(long)[-1]
    assert read_json(Path(long.folder) / state.FAILURE) is None


@pytest.mark.slow
def test_signal_to_the_group_ends_worker_and_run_at_any_moment(started, task):
    for number in range(6):
        process, long = started(), task(f"long{number}", "OPTIM.MAX_EPOCH", "500")
        process.ask(long)
        time.sleep(0.6 * number)  # while it starts, imports, forks, builds
        process.signal(signal.SIGTERM)
        waited_for(process.ended)
        waited_for(lambda folder=long.folder: not run_folder.is_held(folder))
