"""Places of a machine, and that runs keep to them."""

import json
import os
import time

import pytest

from modprompt.errors import UserError
from modprompt.experiments.running import local, state, worker
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
    assert local.slots(None, ["0"], cores, 3)[0].variables["MODPROMPT_GPU_SHARE"] == "0.3000"
    assert "MODPROMPT_GPU_SHARE" not in local.slots(None, ["0"], cores)[0].variables
    assert local.slots(None, [], cores)[0].variables == {}
    with pytest.raises(UserError, match="--per-gpu: there is no GPU here"):
        local.slots(None, [], cores, 2)


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


def test_runs_are_pinned_to_their_place(quick, jobs, tmp_path, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    quick(seconds=1.0)
    cores = local.usable_cores()
    launcher = local.LocalLauncher(local.slots(2, ["6", "7"], cores))
    runs = launcher.start([quick.task_of(job, tmp_path, tmp_path) for job in jobs[:2]])
    assert launcher.free() == 0
    assert [run.wait() for run in runs] == [worker.DONE] * 2
    results = [json.loads((tmp_path / job.folder / "result.json").read_text()) for job in jobs[:2]]
    assert [result["gpu"] for result in results] == ["6", "7"]
    assert [tuple(result["cores"]) for result in results] == local.shares(cores, 2)
    assert {result["threads"] for result in results} == {str(len(local.shares(cores, 2)[0]))}
    assert launcher.free() == 2


def test_runs_share_a_gpu_from_the_start(quick, jobs, tmp_path):
    launcher = local.LocalLauncher(local.slots(None, ["0"], local.usable_cores(), per_gpu=2))
    for run in launcher.start([quick.task_of(job, tmp_path, tmp_path) for job in jobs[:2]]):
        assert run.wait() == worker.DONE
    results = [json.loads((tmp_path / job.folder / "result.json").read_text()) for job in jobs[:2]]
    assert [(result["gpu"], result["runs_on_gpu"], result["share"]) for result in results] == [("0", "2", "0.4500")] * 2


@pytest.mark.slow
@pytest.mark.parametrize("how", ["asked", "killed"])
def test_closing_ends_all_that_was_started(quick, jobs, tmp_path, how):
    quick(seconds=60)
    launcher = local.LocalLauncher([local.Slot((0,))])
    (run,) = launcher.start([quick.task_of(jobs[0], tmp_path, tmp_path)])
    folder = tmp_path / jobs[0].folder
    end = time.monotonic() + 60
    while not starts(folder) and time.monotonic() < end:
        time.sleep(0.02)
    child = int((folder / "starts.txt").read_text())
    launcher.close(grace_s=5.0 if how == "asked" else 0.0)
    assert run.poll() == worker.FAILED
    deadline = time.monotonic() + 30
    while state.of(jobs[0], tmp_path).name == "running" and time.monotonic() < deadline:
        time.sleep(0.02)
    assert state.of(jobs[0], tmp_path) == state.State("waiting")
    assert has_ended(child)
