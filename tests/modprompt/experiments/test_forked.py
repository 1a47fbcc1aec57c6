"""Forked runs have the numbers, words and exit codes of programs of their own, whoever is killed."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from multiprocessing import forkserver

import pytest

from modprompt import places
from modprompt.experiments.plan import protocols
from modprompt.experiments.running import forked, local, state, worker
from modprompt.io import folder as run_folder
from modprompt.io import lock
from modprompt.io.records import read_json
from tests.conftest import ROOT
from tests.modprompt.experiments import kills

PATIENCE_S = 120.0


def wait_for(condition):
    end = time.monotonic() + PATIENCE_S
    while not (found := condition()):
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.02)
    return found


@pytest.fixture
def server():
    """Stops the server behind a test, so that the next has one of its own."""
    forkserver._forkserver._stop()
    yield
    forkserver._forkserver._stop()


@pytest.fixture
def started(server, experiment, eurosat_root, small_config, clip_file, tmp_path):
    """Starts a real training of its own folder, of the small MPL, with further options."""
    clip = f"{{MODEL.BACKBONE.PATH: {clip_file}, MODEL.BACKBONE.ACTIVATION: quick_gelu, MODEL.BACKBONE.HEADS: [1, 2]}}"
    text = f"protocol: base2new\ndatasets: [eurosat]\nshots: 4\nseeds: [1]\noptions: {clip}\n"
    (job, *_) = protocols.jobs(experiment(f"{text}methods:\n  MPL: {{trainer: MPL, config: {small_config}}}\n", "real"))
    with contextlib.ExitStack() as stack:

        def start(name, *options, flags=(), cold=False, seeded=True):
            pairs = tuple(zip(options[::2], options[1::2]))
            task = worker.task_of(job._replace(folder=name, options=(*job.options, *pairs)), tmp_path, eurosat_root)
            words = list(task.command)
            if not seeded:
                del words[words.index("--seed") : words.index("--seed") + 2]
            words[len(places.program("train")) : len(places.program("train"))] = flags
            launcher = local.LocalLauncher([local.Slot((local.usable_cores()[0],))], cold)
            stack.callback(launcher.close)
            (run,) = launcher.start([task._replace(command=tuple(words))])
            return run

        yield start


def result_of(run):
    run.wait()
    return read_json(run.folder / "result.json")


def console_of(run):
    """What a run said, without its folder and its times."""
    text = (run.folder / state.CONSOLE).read_text().replace(str(run.folder), "FOLDER")
    text = re.sub(r".*\d%\|.*\n?", "", text)  # a progress bar
    text = re.sub(r"\d+:\d\d:\d\d", "TIME", text)
    return re.sub(r"(time|data) [\d.]+ \([\d.]+\)", "TIME", text).splitlines()


TIMES = {"elapsed_s", "training_s", "testing_s", "peak_gib", "image_files", "jobs_at_once", "modprompt"}


def facts(result):
    settings = {key: text for key, text in result["settings"].items() if key != "OUTPUT_DIR"}
    return {**{key: value for key, value in result.items() if key not in TIMES}, "settings": settings}


@pytest.mark.slow
def test_forked_runs_are_those_of_programs_of_their_own(started):
    assert result_of(started("other", "DATALOADER.NUM_WORKERS", "2", "OPTIM.LR", "0.1"))
    cold, first = started("cold", cold=True), started("first")
    results = [result_of(cold), result_of(first)]
    wrong = started("wrong", "OPTIM.RL", "1")
    assert wrong.wait() == worker.FAILED
    second = started("second")
    results.append(result_of(second))
    assert results[0]["prompts_hash"]
    assert [facts(result) for result in results] == [facts(results[0])] * 3
    assert console_of(cold) == console_of(first) == console_of(second)
    failure = read_json(wrong.folder / state.FAILURE)
    assert failure["exit"] == 2
    assert failure["line"].startswith("error: command line: there is no config key 'OPTIM.RL'")


@pytest.mark.slow
def test_runs_without_a_seed_differ(started):
    assert len({result_of(started(name, seeded=False))["prompts_hash"] for name in ("one", "other", "third")}) == 3


ENDING = """
import atexit, os, random, signal, sys, threading, time
import numpy, torch
sys.left = open("left open", "w")
sys.left.write("line")
atexit.register(print, "at the end")
threading.Thread(target=lambda: (time.sleep(0.2), print("a thread"))).start()
print(os.getsid(0) == os.getpid(), signal.getsignal(signal.SIGINT), repr(sys.stdin.read()), os.environ.get("LEFT"))
os.environ["LEFT"] = "to the next"
sys.exit(int(os.environ["CODE"]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("code", ["0", "5"])
def test_a_child_ends_as_a_program_does(started, tmp_path, monkeypatch, code):
    """It does what is registered for its end, and writes files out that it has left open."""
    (tmp_path / "ending.py").write_text(ENDING)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CODE", code)
    for name in ("one", "other"):
        run = started(name, flags=("--import", "ending"))
        run.wait()
        lines = (run.folder / state.CONSOLE).read_text().splitlines()
        assert lines[0] == "True <built-in function default_int_handler> '' None"
        assert {*lines[1:]} == {"a thread", "at the end"}
        assert read_json(run.folder / state.FAILURE)["exit"] == int(code)
        assert (tmp_path / "left open").read_text() == "line"


def in_training(run):
    """A long run, once it trains."""
    console = run.folder / state.CONSOLE
    wait_for(lambda: run.poll() is not None or "epoch [2/" in console.read_text())
    assert run.poll() is None
    return run


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_killed_run_is_told_as_a_program_would_be_and_the_next_is_forked(started, number):
    long = in_training(started("long", "OPTIM.MAX_EPOCH", "500"))
    os.kill(long.child.pid, number)
    assert long.wait() == worker.FAILED
    failure = read_json(long.folder / state.FAILURE)
    if number == signal.SIGKILL:
        assert failure["exit"] == -9
        assert failure["line"].startswith("killed by SIGKILL (out of memory?); before: epoch [")
    else:
        assert failure is None
    if number == signal.SIGINT:
        assert "interrupted; the same command goes on after the last whole epoch" in console_of(long)[-1]
    assert not run_folder.is_held(long.folder)
    assert result_of(started("next", "OPTIM.MAX_EPOCH", "1"))


@pytest.mark.slow
def test_run_of_a_killed_server_goes_on_under_its_lock_and_the_next_has_another(started):
    long = in_training(started("long", "OPTIM.MAX_EPOCH", "500"))
    os.kill(forkserver._forkserver._forkserver_pid, signal.SIGKILL)
    assert wait_for(long.poll) == worker.BUSY
    assert run_folder.is_held(long.folder)
    with pytest.raises(lock.Busy):
        run_folder.take(long.folder, 0.1)
    assert result_of(started("next", "OPTIM.MAX_EPOCH", "1"))
    os.kill(long.child.pid, signal.SIGTERM)
    wait_for(lambda: not run_folder.is_held(long.folder))


REFUSING = """
import sys
import torch
def refuse(*_):
    raise AssertionError("a card was asked for")
torch.cuda.is_available = torch.cuda.device_count = torch.cuda.init = torch.cuda._lazy_init = refuse
from modprompt.cli import warm
print(warm.WHY_NOT or "may be forked", sorted({"dassl", "modprompt.trainers.run"} - set(sys.modules)))
"""


@pytest.mark.slow
def test_what_the_server_imports_touches_no_card_and_starts_no_thread():
    words = [sys.executable, "-c", REFUSING]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (0, "may be forked []\n"), done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["import nothing_like_this", "raise SystemExit('no')", "1 / 0"])
def test_imports_that_fail_are_a_reason(tmp_path, fault):
    (tmp_path / "modprompt_fault.py").write_text(fault)
    code = "from modprompt.cli import train; train.import_all = lambda: __import__('modprompt_fault')\n"
    code += "from modprompt.cli import warm; print(warm.WHY_NOT)"
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{tmp_path}"}
    words = [sys.executable, "-c", code]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.startswith("what they import cannot be imported (")
    assert done.stderr == f"note: each run starts with its own imports: {done.stdout}"


@pytest.mark.slow
def test_where_imports_start_threads_runs_are_programs_and_that_is_told(started, tmp_path, monkeypatch, capfd):
    code = "import threading; threading.Thread(target=threading.Event().wait, daemon=True).start()"
    (tmp_path / "sitecustomize.py").write_text(code)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert result_of(started("one", "OPTIM.MAX_EPOCH", "1"))
    assert "note: each run starts with its own imports: what they import starts threads\n" in capfd.readouterr().err


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_ctrl_c_ends_runner_and_runs_at_any_moment(tmp_path):
    """As a terminal sends it: to the runner and to the server, while that starts, imports, and forks."""
    for number in range(4):
        out = tmp_path / f"out{number}"
        words = [sys.executable, "-m", "modprompt", "experiment", "run", "digits", "--out", str(out)]
        with subprocess.Popen(words, cwd=ROOT, stderr=subprocess.PIPE, text=True, start_new_session=True) as runner:
            wait_for(lambda out=out: list(out.rglob("console.txt")))
            time.sleep(2.0 * number)
            os.killpg(runner.pid, signal.SIGINT)
            said = runner.communicate(timeout=60)[1]
        assert runner.returncode == 130
        assert "stopped: the runs are ended; the same command resumes them" in said
        assert "Traceback" not in said
        wait_for(lambda out=out: not kills.processes_of(out))


def ended_as_program(tmp_path, *words):
    child = forked.forked(list(words), {**os.environ, **places.environment()}, tmp_path / "console", [0])
    assert isinstance(child, subprocess.Popen)
    assert child.wait() == 0
    return (tmp_path / "console").read_text()


def test_other_commands_are_programs(tmp_path):
    assert ended_as_program(tmp_path, sys.executable, "-c", "print(1)") == "1\n"


def test_run_whose_server_is_killed_while_it_starts_is_a_program(tmp_path, monkeypatch, capsys):
    @contextlib.contextmanager
    def killed(_):
        raise EOFError
        yield

    monkeypatch.setattr(forked, "_as_of_server", killed)
    assert "--trainer" in ended_as_program(tmp_path, *places.program("train", "--help"))
    assert "own imports: the server that forks was killed" in capsys.readouterr().err
