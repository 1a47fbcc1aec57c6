"""Chains through submitit, on a real Slurm where one can be started (slurm.sh)."""

import json
import os
import subprocess
import threading
from pathlib import Path

import pytest

from modprompt.errors import UserError
from modprompt.experiments.plan import protocols
from modprompt.experiments.running import chains, run, slurm, state
from tests.conftest import one_line
from tests.modprompt.experiments.conftest import starts, wait_for

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
    monkeypatch.setattr(slurm.Queue, "poll_s", 0.3)
    monkeypatch.setattr(slurm.Queue, "patience_s", 1.0)


def queue_of(tmp_path, **more):
    return slurm.Queue(tmp_path / "slurm" / "small", {**SETTINGS, **more}, None)


def brought_to_an_end(jobs, out, **more):
    """As conftest's, by the cluster."""
    runs, ended = chains.Chains(jobs, out, out), {}
    queue_of(out, **more).run(runs)
    for job, stands in runs.outcome(state.of_all(jobs, out)):
        ended.setdefault(stands.name, []).append((job, stands.why))
    return ended


@pytest.mark.slow
def test_job_is_a_chain_that_goes_on_at_its_first_unfinished_run(quick, experiment, tmp_path, monkeypatch):
    """Here without a cluster: as submitit calls it."""
    search = "{trainer: MPL, config: glyph, options: {SEARCH.ON: True}}"
    text = "protocol: base2new\ndatasets: [digits]\nseeds: [1]\nmethods:\n"
    jobs = protocols.jobs(experiment(f"{text}  IVLP: {{trainer: IVLP, config: glyph, search: {search}}}\n"))
    (root,) = chains.Chains(jobs, tmp_path, tmp_path).roots
    chain = chains.Chains(jobs, tmp_path, tmp_path).chain(root)
    assert [job.kind for job in chain] == ["search", "training", "test"]
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "3")
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    quick("train_base/digits/shots_16/IVLP", error="no such weights")
    slurm.Work([(job, quick.command(job, tmp_path, tmp_path)) for job in chain], tmp_path, tmp_path)()
    assert [starts(tmp_path / job.folder) for job in chain] == [1, 1, 0]
    quick("train_base/digits/shots_16/IVLP")
    slurm.Work([(job, quick.command(job, tmp_path, tmp_path)) for job in chain], tmp_path, tmp_path)()
    assert [starts(tmp_path / job.folder) for job in chain] == [1, 2, 1]
    result = json.loads((tmp_path / chain[0].folder / "result.json").read_text())
    assert (result["threads"], result["in_experiment"]) == ("3", "1")
    monkeypatch.delenv("OMP_NUM_THREADS")


@pytest.mark.slow
def test_runs_are_submitted_and_finish_and_failures_are_told(quick, jobs, tmp_path, cluster, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    quick("train_base/digits/shots_16/MPL/glyph/seed2", error="no such weights")
    ended = brought_to_an_end(jobs, tmp_path, slurm_additional_parameters={"nice": 7})
    assert ended["failed"] == [(jobs[6], "error: no such weights")]
    assert [job for job, _ in ended["blocked"]] == [jobs[7]]
    assert [starts(tmp_path / job.folder) for job in jobs] == [1] * 7 + [0]
    assert json.loads((tmp_path / jobs[0].folder / "result.json").read_text())["threads"] == "1"
    ids = [slurm.submitted_as(tmp_path / job.folder) for job in jobs]
    assert len({*ids}) == 6  # a training and its test are one job
    assert len({one.partition("_")[0] for one in ids}) == 1  # of one array
    shown = subprocess.run(["scontrol", "show", "job", ids[0]], capture_output=True, text=True, check=True).stdout
    assert "Nice=7 " in shown
    assert "Requeue=1" in shown
    quick("train_base/digits/shots_16/MPL/glyph/seed2")
    assert list(brought_to_an_end(jobs, tmp_path)) == ["finished"]


@pytest.mark.slow
def test_job_that_the_cluster_stops_resumes_and_a_later_start_finishes(quick, jobs, tmp_path, cluster):
    quick(seconds=4)
    train, test = jobs[4:6]
    first = chains.Chains([train, test], tmp_path, tmp_path)
    first.stop.set()
    with pytest.raises(KeyboardInterrupt):
        queue_of(tmp_path).run(first)
    wait_for(lambda: starts(tmp_path / train.folder) == 1)
    job_id = slurm.submitted_as(tmp_path / train.folder)
    subprocess.run(["scancel", "--signal=USR2", job_id], check=True)
    wait_for(lambda: starts(tmp_path / train.folder) == 2, 120)
    assert not (tmp_path / train.folder / "result.json").exists()
    wait_for(lambda: (queued := slurm.queue()) is not None and job_id not in queued, 120)
    assert list(brought_to_an_end([train, test], tmp_path)) == ["finished"]
    assert [starts(tmp_path / job.folder) for job in (train, test)] == [2, 1]


@pytest.mark.slow
def test_runs_that_are_taken_out_of_the_queue_before_or_after_they_start_are_failures(quick, jobs, tmp_path, cluster):
    quick(seconds=60)
    folders, ended = [tmp_path / job.folder for job in jobs[:4]], {}

    def run():
        ended.update(brought_to_an_end(jobs[:4], tmp_path, cpus_per_task=os.cpu_count()))

    runner = threading.Thread(target=run)
    runner.start()  # one runs, the others wait for its cores
    wait_for(lambda: any(starts(folder) for folder in folders))
    assert slurm.cancel(folders) == 4
    runner.join(60)
    whys = sorted(why[:51] for _, why in ended["failed"])
    stopped = "the process was stopped. The "
    assert whys == [f"{stopped}last output was: epoch"] + [f"{stopped}run printed no output"] * 3
    assert slurm.cancel(folders) == 0


def test_cluster_that_does_not_answer_is_thought_to_have_the_runs(jobs, tmp_path, monkeypatch):
    runs, asked = chains.Chains(jobs[:1], tmp_path, tmp_path), []

    def queue():
        asked.append(1)
        if len(asked) == 3:
            runs.stop.set()

    monkeypatch.setattr(slurm, "queue", queue)
    monkeypatch.setattr(slurm.Queue, "__init__", lambda self: None)
    monkeypatch.setattr(slurm.Queue, "poll_s", 0.01)
    monkeypatch.setattr(slurm.Queue, "submit", lambda self, runs: ({"7": jobs[:1]}, set()))
    with pytest.raises(KeyboardInterrupt):
        slurm.Queue().run(runs)
    assert runs.ended == {}
    with pytest.raises(UserError, match="squeue did not respond. Try again later"):
        slurm.cancel([tmp_path])


@pytest.fixture
def fake_cluster(monkeypatch):
    """Replace the cluster: a list of the submitted arrays, and the set of the jobs in the queue."""
    submitted, queued = [], set()

    def submit(self, array, out, data):
        ids = [f"{len(submitted) + 7}_{number}" for number in range(len(array))]
        submitted.append([[job.folder for job in chain] for chain in array])
        queued.update(ids)
        return ids

    monkeypatch.setattr(slurm.Queue, "__init__", lambda *_: None)
    monkeypatch.setattr(slurm.Queue, "_submit", submit)
    monkeypatch.setattr(slurm.Queue, "poll_s", 0.01)
    monkeypatch.setattr(slurm.Queue, "patience_s", 0.0)
    monkeypatch.setattr(slurm, "queue", lambda: {*queued})
    return submitted, queued


def test_a_second_start_submits_only_chains_that_are_not_in_the_queue(
    quick, experiment, tmp_path, fake_cluster, capsys
):
    submitted, queued = fake_cluster
    experiment()
    first = chains.Chains(jobs_of := protocols.jobs(experiment()), tmp_path / "out", tmp_path)
    first.stop.set()
    with pytest.raises(KeyboardInterrupt):
        slurm.Queue(tmp_path, {}, None).run(first)
    assert [len(array) for array in submitted] == [6]
    words = [str(tmp_path / "small.yaml"), "--out", str(tmp_path / "out"), "--launcher", "slurm"]
    assert run.main(words) == 3
    err = capsys.readouterr().err
    assert len(submitted) == 1
    assert "6 chains of runs are already in the Slurm queue and not submitted again (jobs 7_0, 7_1," in err
    assert "or --cancel to remove the jobs." in err
    training = next(job for job in jobs_of if job.kind == "training")
    queued.discard(slurm.submitted_as(tmp_path / "out" / training.folder))

    def leave():
        """Let the job of the third start leave the queue, so that the start ends."""
        wait_for(lambda: len(submitted) == 2)
        queued.difference_update({name for name in queued if name.startswith("8_")})

    helper = threading.Thread(target=leave)
    helper.start()
    assert run.main(words) == 1  # the job has left the queue without a result
    helper.join()
    assert [len(array) for array in submitted] == [6, 1]
    assert submitted[1][0][0] == training.folder


def test_without_an_answer_of_squeue_nothing_is_submitted(experiment, tmp_path, fake_cluster, monkeypatch):
    monkeypatch.setattr(slurm, "queue", lambda: None)
    runs = chains.Chains(protocols.jobs(experiment()), tmp_path, tmp_path)
    with one_line("no run was submitted, because squeue did not respond. Try again later."):
        slurm.Queue(tmp_path, {}, None).run(runs)
    assert fake_cluster[0] == []


def test_machine_without_slurm_is_told(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert slurm.queue() is None
    with pytest.raises(UserError, match="--launcher slurm cannot be used .submitit: .*srun"):
        slurm.Queue(tmp_path / "x", SETTINGS, None)


def test_no_reaches_submitit_and_zero_leaves_a_setting_out(tmp_path, monkeypatch):
    import submitit

    given = {}
    monkeypatch.setattr(submitit.AutoExecutor, "__init__", lambda *_, **__: None)
    monkeypatch.setattr(submitit.AutoExecutor, "update_parameters", lambda _, **settings: given.update(settings))
    queue_of(tmp_path, slurm_use_srun=False, slurm_exclusive=None)
    assert given["slurm_use_srun"] is False
    assert {"gpus_per_node", "slurm_exclusive"}.isdisjoint(given)
