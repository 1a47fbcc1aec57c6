"""Places of a machine, and that runs keep to them."""

import json
import os
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from modprompt.errors import UserError
from modprompt.experiments.running import local, state
from modprompt.experiments.running.worker import Task
from tests.modprompt.experiments.conftest import has_ended, starts


def test_cores_are_shared_evenly():
    assert local.shares([0, 1, 2, 3], 2) == [(0, 1), (2, 3)]
    assert local.shares([4, 5, 6, 7, 8], 2) == [(4, 5), (6, 7, 8)]
    assert local.shares([0, 1], 3) == [(0,), (1,), (0,)]


def test_one_run_per_gpu_and_on_the_cpu_up_to_four():
    assert [slot.gpu for slot in local.slots(None, ["0", "3"], range(8))] == ["0", "3"]
    assert [len(slot.cores) for slot in local.slots(None, ["0", "3"], range(8))] == [4, 4]
    assert [slot.gpu for slot in local.slots(3, ["0", "1"], range(8))] == ["0", "1", "0"]
    assert len(local.slots(None, [], range(64))) == 4
    assert local.slots(None, [], [0, 1]) == [local.Slot((0,)), local.Slot((1,))]


def test_runs_share_gpus_where_that_is_asked_for():
    def found(*words):
        return [(slot.gpu, slot.on_gpu) for slot in local.slots(*words)]

    gpus, cores = ["0", "1"], range(8)
    assert found(None, gpus, cores) == [("0", 1), ("1", 1)]
    assert found(None, gpus, cores, 2) == [("0", 2), ("1", 2)] * 2
    assert found(3, gpus, cores) == [("0", 2), ("1", 2), ("0", 2)]  # numbers depend on the share, so it is the same
    assert found(3, gpus, cores, 2) == [("0", 2), ("1", 2), ("0", 2)]
    assert found(8, gpus, cores, 2) == found(None, gpus, cores, 2)
    assert found(1, gpus, cores, 2) == [("0", 1)]
    shares = [slot.gpu_share for slot in local.slots(None, ["0"], cores, 3)]
    assert shares == pytest.approx([0.3] * 3)
    with pytest.raises(UserError, match="--per-gpu: there is no GPU here"):
        local.slots(None, [], cores, 2)


class Started:
    """Places on GPUs whose runs end when they are told to; what their workers were asked is kept."""

    def __init__(self, monkeypatch, gpus, per_gpu):
        self.codes, self.tasks = {}, []
        monkeypatch.setattr(local.LocalLauncher, "_asked", self._asked)
        self.launcher = local.LocalLauncher(local.slots(None, gpus, range(4), per_gpu))

    def _asked(self, task, place):
        self.tasks.append(task)
        return SimpleNamespace(answer=lambda: self.codes.get(task.folder), notes=[])

    def start(self, **needs):
        """Names of the runs that start, of those named, with how many they share a GPU and their share of it."""
        self.launcher.free()
        before = len(self.tasks)
        tasks = [Task(name, (), {}, False, "", gpu_need=need) for name, need in needs.items()]
        handles = self.launcher.start(tasks)
        assert len(handles) == len(self.tasks) - before
        return [(one.folder, one.on_gpu, round(one.gpu_share, 2)) for one in self.tasks[before:]]

    def end(self, *names):
        self.codes.update(dict.fromkeys(names, 0))


def test_first_run_of_a_kind_is_alone_within_the_share_of_the_others(monkeypatch):
    one = Started(monkeypatch, ["0"], 2)
    assert one.start(a=None, b=0.3) == [("a", 1, 0.45)]
    assert (one.launcher.free(), one.start(b=0.3)) == (0, [])
    one.end("a")
    assert one.start(b=0.3, c=0.44, d=0.1) == [("b", 2, 0.45), ("c", 2, 0.45)]
    assert one.launcher.free() == 0


def test_run_that_needs_more_than_a_share_waits_for_a_whole_gpu_and_those_behind_it_wait_too(monkeypatch):
    one = Started(monkeypatch, ["0"], 2)
    assert one.start(a=0.2) == [("a", 2, 0.45)]
    assert one.start(big=0.46, b=0.2) == []
    one.end("a")
    assert one.start(big=0.46, b=0.2) == [("big", 1, 1.0)]
    assert one.launcher.free() == 0
    one.end("big")
    assert one.start(b=0.2) == [("b", 2, 0.45)]


def test_another_gpu_takes_runs_meanwhile(monkeypatch):
    two = Started(monkeypatch, ["0", "1"], 2)
    assert two.start(a=None, b=0.2, c=0.2, d=0.2) == [("a", 1, 0.45), ("b", 2, 0.45), ("c", 2, 0.45)]
    assert [two.launcher.places[handle.place].gpu for handle in two.launcher.handles] == ["0", "1", "1"]


def test_without_sharing_a_run_has_all_of_its_gpu_and_on_a_cpu_nobody_speaks_of_one(monkeypatch):
    one = Started(monkeypatch, ["0"], None)
    assert one.start(a=None, b=0.9) == [("a", 1, 1.0)]
    cpu = Started(monkeypatch, [], None)
    assert cpu.start(a=None, b=None) == [("a", 0, 1.0), ("b", 0, 1.0)]


def test_gpus_are_those_that_may_be_used(monkeypatch, tmp_path):
    fake = tmp_path / "nvidia-smi"
    fake.write_text("#!/bin/sh\necho 'GPU 0: NVIDIA H100 (UUID: GPU-a)'\necho 'GPU 1: NVIDIA H100 (UUID: GPU-b)'\n")
    fake.chmod(0o755)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    assert local.gpus() == ["0", "1"]
    for value, found in (("2,5", ["2", "5"]), ("", []), ("-1", []), ("GPU-a", ["GPU-a"])):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", value)
        assert local.gpus() == found
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    assert local.gpus() == []


def wait(handles):
    end = time.monotonic() + 60
    while any(handle.alive() for handle in handles) and time.monotonic() < end:
        time.sleep(0.02)


@pytest.mark.slow
def test_runs_are_pinned_to_their_place(quick, jobs, tmp_path, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    cores = local.usable_cores()
    launcher = local.LocalLauncher(local.slots(2, ["6", "7"], cores))
    tasks = [quick.task_of(job, tmp_path, tmp_path) for job in jobs[:2]]
    handles = launcher.start(tasks)
    assert launcher.free() == 0
    wait(handles)
    results = [json.loads((tmp_path / job.folder / "result.json").read_text()) for job in jobs[:2]]
    assert {result["gpu"] for result in results} == {"6", "7"}
    assert sorted(tuple(result["cores"]) for result in results) == sorted(local.shares(cores, 2))
    assert all(result["threads"] == str(len(result["cores"])) for result in results)
    assert launcher.free() == 2
    launcher.close()


@pytest.mark.slow
@pytest.mark.parametrize("how", ["asked", "killed"])
def test_closing_ends_all_that_was_started(quick, jobs, tmp_path, how):
    quick(seconds=60)
    launcher = local.LocalLauncher([local.Slot((0,))])
    (handle,) = launcher.start([quick.task_of(jobs[0], tmp_path, tmp_path)])
    folder = tmp_path / jobs[0].folder
    end = time.monotonic() + 60
    while not starts(folder) and time.monotonic() < end:
        time.sleep(0.02)
    child = int((folder / "starts.txt").read_text())
    launcher.close(grace_s=5.0 if how == "asked" else 0.0)
    assert not handle.alive()
    deadline = time.monotonic() + 30
    while state.of(jobs[0], tmp_path).name == "running" and time.monotonic() < deadline:
        time.sleep(0.02)
    assert state.of(jobs[0], tmp_path) == state.State("waiting")
    assert has_ended(child)


def test_what_workers_have_to_say_is_told_once(capsys):
    launcher = local.LocalLauncher([local.Slot((0,))] * 2)
    launcher.workers = {place: SimpleNamespace(notes=["runs start cold"]) for place in (0, 1)}
    assert launcher.free() == 2
    launcher.free()
    assert capsys.readouterr().err == "note: runs start cold\n"


@pytest.mark.slow
def test_place_whose_worker_was_killed_has_another(quick, jobs, tmp_path):
    launcher = local.LocalLauncher([local.Slot((0,))])
    try:
        for job in jobs[:2]:
            handles = launcher.start([quick.task_of(job, tmp_path, tmp_path)])
            wait(handles)
            assert state.of(job, tmp_path).name == "finished"
            assert launcher.free() == 1
            launcher.workers[0].process.kill()
            launcher.workers[0].process.wait()
    finally:
        launcher.close()


@pytest.mark.slow
def test_worker_of_a_place_stays_for_its_next_run_and_ends_with_the_launcher(quick, jobs, tmp_path):
    launcher, workers = local.LocalLauncher([local.Slot((0,))], cold=True, out=tmp_path), set()
    for job in jobs[:2]:
        wait(launcher.start([quick.task_of(job, tmp_path, tmp_path)]))
        assert launcher.free() == 1
        workers.add(launcher.workers[0].process.pid)
    (pid,) = workers
    words = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
    assert {"--cold", str(tmp_path)} <= set(words)
    launcher.close()
    assert has_ended(pid)
