"""Runs through submitit: on its local stand-in everywhere, on a real Slurm where one can be started (slurm.sh)."""

import json
import os
import subprocess
import time
from pathlib import Path

import pytest

from modprompt.errors import UserError
from modprompt.experiments.plan import protocols
from modprompt.experiments.running import runner, slurm, state
from tests.modprompt.experiments.conftest import starts

pytest.importorskip("submitit")
HERE = Path(__file__).parent
SETTINGS = {"timeout_min": 10, "cpus_per_task": 1, "gpus_per_node": 0, "mem_gb": 1}


@pytest.fixture(scope="module")
def started_cluster(tmp_path_factory):
    """A Slurm of this machine: what SLURM_CONF must say."""
    folder = tmp_path_factory.mktemp("slurm")
    started = subprocess.run(["bash", HERE / "slurm.sh", "start", folder], capture_output=True, text=True, check=False)
    if started.returncode == 3:
        pytest.skip(f"no Slurm here: {started.stderr.strip().splitlines()[-1]}")
    assert started.returncode == 0, started.stderr
    yield started.stdout.strip()
    subprocess.run(["bash", HERE / "slurm.sh", "stop", folder], check=True)


@pytest.fixture
def cluster(started_cluster, monkeypatch):
    """SLURM_CONF points at it, for one test."""
    monkeypatch.setenv("SLURM_CONF", started_cluster)


def launcher_of(tmp_path, kind, **more):
    launcher = slurm.SubmitLauncher(tmp_path / "slurm" / "small", {**SETTINGS, **more}, None, kind)
    launcher.poll_s, launcher.patience_s = 0.3, 1.0
    return launcher


def wait_for(condition, seconds=60.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.1)


@pytest.fixture(params=["local", pytest.param("slurm", marks=pytest.mark.slow)])
def kind(request):
    """A cluster's kind; the real one is started."""
    if request.param == "slurm":
        request.getfixturevalue("cluster")
    return request.param


@pytest.mark.slow
def test_runs_are_submitted_and_finish_and_failures_are_told(quick, jobs, tmp_path, kind, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS")
    quick("test_new/digits/shots_16/ZeroshotCLIP/glyph/seed2", error="no such weights")
    summary = runner.Runner(jobs, tmp_path, tmp_path, launcher_of(tmp_path, kind)).run()
    assert summary.finished == 7
    assert [(job.folder, why) for job, why in summary.failed] == [(jobs[3].folder, "error: no such weights")]
    assert [starts(tmp_path / job.folder) for job in jobs] == [1] * 8
    if kind == "slurm":  # on the cores that it was given
        assert json.loads((tmp_path / jobs[0].folder / "result.json").read_text())["threads"] == "1"


@pytest.mark.slow
def test_search_is_submitted_before_its_training(quick, experiment, tmp_path, kind):
    text = "protocol: base2new\ndatasets: [digits]\nseeds: [1]\nmethods:\n"
    search = "{trainer: MPL, config: glyph, options: {SEARCH.ON: True}}"
    jobs = protocols.jobs(experiment(f"{text}  IVLP: {{trainer: IVLP, config: glyph, search: {search}}}\n"))
    summary = runner.Runner(jobs, tmp_path, tmp_path, launcher_of(tmp_path, kind)).run()
    assert (summary.finished, summary.complete) == (3, True)
    assert [starts(tmp_path / job.folder) for job in jobs] == [1] * 3


@pytest.mark.slow
def test_run_that_is_killed_by_a_signal_is_queued_again_and_goes_on(quick, jobs, tmp_path, cluster):
    quick(seconds=4)
    folder, launcher = tmp_path / jobs[0].folder, launcher_of(tmp_path, "slurm")
    (handle,) = launcher.start([quick.task_of(jobs[0], tmp_path, tmp_path)])
    wait_for(lambda: starts(folder) == 1)
    subprocess.run(["scancel", "--signal=USR2", handle.job_id], check=True)
    wait_for(lambda: starts(folder) == 2, 120)
    launcher.free()
    assert handle.poll() is None
    assert not (folder / "result.json").exists()
    wait_for(lambda: state.of(jobs[0], tmp_path).name == "finished")


@pytest.mark.slow
def test_runner_that_left_its_runs_in_the_queue_is_followed_by_one_that_takes_them_over(quick, jobs, tmp_path, cluster):
    quick(seconds=2)
    first = runner.Runner(jobs[:2], tmp_path, tmp_path, launcher_of(tmp_path, "slurm"))
    first._start(9)
    first.launcher.close()
    first.screen.close()
    second = runner.Runner(jobs[:2], tmp_path, tmp_path, launcher_of(tmp_path, "slurm"))
    assert set(second.running) == {job.folder for job in jobs[:2]}
    assert second.run().complete
    assert [starts(tmp_path / job.folder) for job in jobs[:2]] == [1, 1]


@pytest.mark.slow
def test_runs_are_taken_out_of_the_queue(quick, jobs, tmp_path, cluster):
    quick(seconds=60)
    folders = [tmp_path / job.folder for job in jobs[:3]]
    launcher_of(tmp_path, "slurm").start([quick.task_of(job, tmp_path, tmp_path) for job in jobs[:3]])
    assert slurm.cancel(folders) == 3
    wait_for(lambda: not slurm.queue())
    assert slurm.cancel(folders) == 0
    assert all(state.of(job, tmp_path).name == "waiting" for job in jobs[:3])


@pytest.mark.slow
def test_run_that_vanishes_from_the_queue_is_a_failure(quick, jobs, tmp_path, cluster):
    quick(seconds=60)
    one = runner.Runner(jobs[:1], tmp_path, tmp_path, launcher_of(tmp_path, "slurm"))
    one._start(9)
    wait_for(lambda: starts(tmp_path / jobs[0].folder))
    slurm.cancel([tmp_path / jobs[0].folder])
    summary = one.run()
    ((_, why),) = summary.failed
    assert why.startswith("stopped; before: epoch [1/2]")


def test_cluster_that_does_not_answer_is_thought_to_have_the_runs(quick, jobs, tmp_path, monkeypatch):
    monkeypatch.setattr(slurm, "queue", lambda: None)
    launcher = launcher_of(tmp_path, "local")
    launcher.cluster = "slurm"
    launcher.free()
    assert slurm.Submitted(launcher, "7").poll() is None
    with pytest.raises(UserError, match="Slurm does not answer"):
        slurm.cancel([tmp_path])


@pytest.mark.slow
def test_parameter_that_submitit_does_not_know_is_named(tmp_path, cluster):
    with pytest.raises(UserError, match="--launcher slurm: .*timeout_minutes"):
        slurm.SubmitLauncher(tmp_path / "x", {"timeout_minutes": 3}, None)


@pytest.mark.slow
def test_partition_that_is_not_there_is_told_as_sbatch_tells_it(quick, jobs, tmp_path, cluster):
    launcher = launcher_of(tmp_path, "slurm", slurm_partition="nowhere")
    with pytest.raises(UserError, match="the cluster accepts no runs: .*[Pp]artition"):
        launcher.start([quick.task_of(jobs[0], tmp_path, tmp_path)])


def test_machine_without_slurm_is_told(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert slurm.queue() is None
    with pytest.raises(UserError, match="--launcher slurm: .*srun"):
        slurm.SubmitLauncher(tmp_path / "x", SETTINGS, None)


def test_no_reaches_submitit_and_zero_leaves_a_setting_out(tmp_path, monkeypatch):
    import submitit

    given = {}
    monkeypatch.setattr(submitit.AutoExecutor, "update_parameters", lambda _, **settings: given.update(settings))
    launcher_of(tmp_path, "local", slurm_use_srun=False, slurm_exclusive=None)
    assert given["slurm_use_srun"] is False
    assert {"gpus_per_node", "slurm_exclusive"}.isdisjoint(given)


def test_submitted_runs_find_this_package(tmp_path, monkeypatch, quick, jobs):
    monkeypatch.setenv("PYTHONPATH", "/somewhere")
    monkeypatch.chdir(tmp_path)
    launcher = launcher_of(tmp_path, "local")
    (handle,) = launcher.start([quick.task_of(jobs[0], tmp_path, tmp_path)])
    wait_for(lambda: handle.poll() is not None)
    assert state.of(jobs[0], tmp_path).name == "finished"


@pytest.mark.slow
def test_runner_outlives_runs_that_are_taken_out_of_the_queue_before_they_start(quick, jobs, tmp_path, cluster):
    quick(seconds=60)
    one = runner.Runner(jobs[:4], tmp_path, tmp_path, launcher_of(tmp_path, "slurm", cpus_per_task=os.cpu_count()))
    one._start(9)  # one runs, the others wait for its cores
    wait_for(lambda: any(starts(tmp_path / job.folder) for job in jobs[:4]))
    slurm.cancel([tmp_path / job.folder for job in jobs[:4]])
    began = time.monotonic()
    assert len(one.run().failed) == 4
    assert time.monotonic() - began < 30


@pytest.mark.slow
def test_parameters_of_sbatch_itself(quick, jobs, tmp_path, cluster):
    launcher = launcher_of(tmp_path, "slurm", slurm_additional_parameters={"nice": 7})
    (handle,) = launcher.start([quick.task_of(jobs[0], tmp_path, tmp_path)])
    assert (
        "Nice=7 "
        in subprocess.run(["scontrol", "show", "job", handle.job_id], capture_output=True, text=True, check=True).stdout
    )
    assert (
        "Requeue=1"
        in subprocess.run(["scontrol", "show", "job", handle.job_id], capture_output=True, text=True, check=True).stdout
    )
    wait_for(lambda: state.of(jobs[0], tmp_path).name == "finished")
