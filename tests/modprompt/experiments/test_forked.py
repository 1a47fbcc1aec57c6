"""Forked runs have the numbers, words and exit codes of programs of their own, whoever is killed."""

import os
import re
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import forkserver

import pytest

from modprompt import places
from modprompt.experiments.plan import protocols
from modprompt.experiments.plan.commands import command
from modprompt.experiments.running import chains, forked, single_run, state
from modprompt.io import folder as run_folder
from modprompt.io import lock
from modprompt.io.records import read_json
from tests.conftest import ROOT
from tests.modprompt.experiments import kills
from tests.modprompt.experiments.conftest import wait_for


class Started:
    """A real training in its own folder, which a thread brings to its end."""

    def __init__(self, pool, job, words, out, start):
        self.folder, self.child = out / job.folder, None

        def run(console):
            self.child = start(words, {**os.environ, **places.environment()}, console, chains.usable_cores()[:1])
            return wait_for(lambda: None if (code := self.child.poll()) is None else [code])[0]

        self.end = pool.submit(single_run.complete, job, words, out, None, time.time(), run)

    @property
    def result(self):
        self.end.result()
        return read_json(self.folder / "result.json")

    @property
    def failure(self):
        self.end.result()
        return read_json(self.folder / state.FAILURE)

    @property
    def console(self):
        """What it said, without its folder and its times."""
        text = (self.folder / state.CONSOLE).read_text().replace(str(self.folder), "FOLDER")
        text = re.sub(r".*\d%\|.*\n?", "", text)  # a progress bar
        text = re.sub(r"\d+:\d\d:\d\d", "TIME", text)
        return re.sub(r"(time|data) [\d.]+ \([\d.]+\)", "TIME", text).splitlines()


@pytest.fixture
def started(experiment, eurosat_root, small_config, clip_file, tmp_path, monkeypatch):
    """Starts trainings of the small MPL with further options, forked from a server of the test's own."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    clip = f"{{MODEL.BACKBONE.PATH: {clip_file}, MODEL.BACKBONE.ACTIVATION: quick_gelu, MODEL.BACKBONE.HEADS: [1, 2]}}"
    text = f"protocol: base2new\ndatasets: [eurosat]\nshots: 4\nseeds: [1]\noptions: {clip}\n"
    (job, *_) = protocols.jobs(experiment(f"{text}methods:\n  MPL: {{trainer: MPL, config: {small_config}}}\n", "real"))
    runs = []
    forkserver._forkserver._stop()
    with ThreadPoolExecutor(5) as pool:

        def start(name, *options, cold=False, seeded=True):
            pairs = tuple(zip(options[::2], options[1::2]))
            this = job._replace(folder=name, options=(*job.options, *pairs))
            words = command(this, tmp_path, eurosat_root)
            if not seeded:
                words[words.index("--seed") + 1] = "-1"
            runs.append(Started(pool, this, words, tmp_path, single_run.start_program if cold else forked.start_forked))
            return runs[-1]

        yield start
        for run in runs:
            if run.child is not None:
                single_run.stop(run.child)
    forkserver._forkserver._stop()


TIMES = {"elapsed_s", "training_s", "testing_s", "peak_gib", "image_files", "jobs_at_once", "modprompt"}


def facts(result):
    settings = {key: text for key, text in result["settings"].items() if key != "OUTPUT_DIR"}
    return {**{key: value for key, value in result.items() if key not in TIMES}, "settings": settings}


@pytest.mark.slow
def test_forked_runs_are_those_of_programs_of_their_own(started):
    assert started("other", "DATALOADER.NUM_WORKERS", "2", "OPTIM.LR", "0.1").result
    cold, first, second = started("cold", cold=True), started("first"), started("second")
    assert facts(cold.result) == facts(first.result) == facts(second.result)
    assert cold.result["prompts_hash"]
    assert cold.console == first.console == second.console
    failure = started("wrong", "OPTIM.RL", "1").failure
    assert failure["exit"] == 2
    assert failure["line"].startswith("error: command line: unknown setting 'OPTIM.RL'")


@pytest.mark.slow
def test_runs_without_a_seed_differ(started):
    assert len({started(name, seeded=False).result["prompts_hash"] for name in ("one", "other", "third")}) == 3


def in_training(run):
    """A long run, once it trains."""
    console = run.folder / state.CONSOLE
    wait_for(lambda: run.end.done() or (run.child is not None and "epoch [2/" in console.read_text()))
    assert not run.end.done()
    return run


@pytest.mark.slow
def test_killed_run_is_told_as_a_program_would_be_and_the_next_is_forked(started):
    long = in_training(started("long", "OPTIM.MAX_EPOCH", "500"))
    os.kill(long.child.pid, signal.SIGKILL)
    assert long.failure["exit"] == -9
    assert long.failure["line"].startswith(
        "SIGKILL ended the process (possibly because the machine had no free memory). The last output was: epoch ["
    )
    again = in_training(started("long", "OPTIM.MAX_EPOCH", "500"))
    os.kill(again.child.pid, signal.SIGINT)
    assert again.failure is None
    assert "Interrupted. Run the same command again to continue after the last completed epoch." in again.console[-1]
    assert not run_folder.is_held(again.folder)


@pytest.mark.slow
def test_run_of_a_killed_server_goes_on_under_its_lock_and_the_next_has_another(started):
    long = in_training(started("long", "OPTIM.MAX_EPOCH", "500"))
    os.kill(forkserver._forkserver._forkserver_pid, signal.SIGKILL)
    with pytest.raises(lock.Busy):
        long.end.result()
    with pytest.raises(lock.Busy):
        run_folder.take(long.folder, 0.1)
    assert started("next", "OPTIM.MAX_EPOCH", "1").result
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
@pytest.mark.timeout(300)
def test_ctrl_c_ends_runner_and_runs_at_any_moment(tmp_path):
    """As a terminal sends it: to the runner and to the server, while that starts, imports, and forks."""
    for number in range(3):
        out = tmp_path / f"out{number}"
        words = [sys.executable, "-m", "modprompt", "experiment", "run", "digits", "--out", str(out)]
        words += ["--data", str(tmp_path / "data")]
        with subprocess.Popen(words, cwd=ROOT, stderr=subprocess.PIPE, text=True, start_new_session=True) as runner:
            wait_for(lambda out=out: list(out.rglob("console.txt")))
            time.sleep(2.0 * number)
            os.killpg(runner.pid, signal.SIGINT)
            said = runner.communicate(timeout=60)[1]
        assert runner.returncode == 130
        assert "All runs were stopped. Run the same command again to resume the experiment." in said
        assert "Traceback" not in said
        wait_for(lambda out=out: not kills.processes_of(out))


def test_run_whose_server_is_killed_while_it_starts_is_a_program(tmp_path, monkeypatch, capsys):
    def killed(_):
        raise EOFError

    monkeypatch.setattr(forked.Forked, "start", killed)
    words, environment = places.program("train", "--help"), {**os.environ, **places.environment()}
    child = forked.start_forked(words, environment, tmp_path / "console", [0])
    assert child.wait() == 0
    assert "--trainer" in (tmp_path / "console").read_text()
    assert (
        "the process from which runs are forked was killed, so this run starts as a new Python process"
        in capsys.readouterr().err
    )
