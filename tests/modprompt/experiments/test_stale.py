"""Results of other settings are put aside once each, whoever else is at work on the output folder."""

import subprocess
import sys

import pytest

from modprompt.errors import UserError
from modprompt.experiments.plan.inputs import Inputs
from modprompt.experiments.running import stale
from modprompt.io import folder as run_folder
from modprompt.io import lock
from modprompt.io.records import read_json
from tests.conftest import ROOT
from tests.modprompt.experiments.fakes import edit, finish

PUT_ASIDE = """
import sys
from pathlib import Path
from modprompt.experiments.plan import file as experiment_file
from modprompt.experiments.plan import protocols
from modprompt.experiments.plan.inputs import Inputs
from modprompt.experiments.running import stale
jobs, out = protocols.jobs(experiment_file.read(Path(sys.argv[1]))), Path(sys.argv[2])
print("ready", flush=True)
sys.stdin.readline()
stale.put_aside(jobs, out, Inputs(out, None))
"""


@pytest.fixture
def others(jobs, tmp_path):
    """The output folder, with results of other settings for all runs."""
    for job in jobs:
        edit(finish(job, tmp_path / "out", 99.0), settings={"OPTIM.LR": "7"})
    return tmp_path / "out"


def names(out):
    return [path.name for path in out.rglob("*.stale-*")]


def test_two_runners_at_once_put_every_folder_aside_once(others, jobs, tmp_path):
    words = [sys.executable, "-c", PUT_ASIDE, str(tmp_path / "small.yaml"), str(others)]
    runners = [
        subprocess.Popen(
            words, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for _ in range(3)
    ]
    assert [runner.stdout.readline() for runner in runners] == ["ready\n"] * 3
    for runner in runners:
        runner.stdin.write("\n")
        runner.stdin.flush()
    said = [runner.communicate(timeout=120) for runner in runners]
    assert [runner.returncode for runner in runners] == [0] * 3, said
    assert [err for _, err in said] == [""] * 3
    lines = [line for out, _ in said for line in out.splitlines()]
    assert len(lines) == len(set(lines)) == len(names(others)) == len(jobs)
    assert all(line.startswith("The stale result was moved to ") for line in lines)
    assert all(read_json(path / "result.json")["accuracy_pct"] == 99.0 for path in others.rglob("seed*.stale-*"))
    assert not any((others / job.folder).exists() for job in jobs)


def test_folder_of_a_run_at_work_stays(others, jobs, capsys):
    held = run_folder.take(others / jobs[4].folder)
    stale.put_aside(jobs, others, Inputs(others, None))
    held.release()
    assert (
        f"{others / jobs[4].folder} is not moved aside, because a process is running in this folder.\n"
        in capsys.readouterr().out
    )
    assert (others / jobs[4].folder / "result.json").exists()
    assert len(names(others)) == len(jobs) - 1


@pytest.mark.parametrize("becomes", ["gone", "another"])
def test_folder_that_changes_while_its_lock_is_taken_stays(others, jobs, monkeypatch, capsys, becomes):
    folder = others / jobs[4].folder
    take = run_folder.take

    def taken(path):
        if path == folder:
            if becomes == "gone":
                folder.rename(others / "elsewhere")
            else:
                finish(jobs[4], others, 50.0)
        return take(path)

    monkeypatch.setattr(run_folder, "take", taken)
    stale.put_aside(jobs[4:5], others, Inputs(others, None))
    assert (
        capsys.readouterr().out
        == f"{folder} is not moved aside, because the run has written a new result in the meantime.\n"
    )
    assert names(others) == []


def test_runner_that_takes_too_long_is_told_of(others, jobs):
    held = lock.take(others / ".lock", "taken")
    with pytest.raises(
        UserError, match="another process is moving stale results aside in .*. Wait until that process is done"
    ):
        stale.put_aside(jobs, others, Inputs(others, None), patience_s=0.1)
    held.release()
    assert names(others) == []
