"""All runs reach their ends: in order, once, side by side with other runners, and around failures; what each leaves."""

import json
import os
import signal
import sys
import threading
import time

import pytest

from modprompt.errors import UserError
from modprompt.experiments.running import chains, single_run, state
from modprompt.io import folder as run_folder
from modprompt.io import lock
from tests.modprompt.experiments.conftest import brought_to_an_end, has_ended, starts, wait_for
from tests.modprompt.experiments.fakes import edit, finish


def counts(jobs, out):
    return [starts(out / job.folder) for job in jobs]


def test_everything_runs_once_each_behind_what_it_needs_and_then_nothing(quick, jobs, tmp_path):
    assert list(brought_to_an_end(jobs, tmp_path, n=4)) == ["finished"]
    assert list(brought_to_an_end(jobs, tmp_path)) == ["finished"]
    assert counts(jobs, tmp_path) == [1] * 8
    for job in jobs:
        if job.training:
            times = [(tmp_path / one.folder / "result.json").stat().st_mtime_ns for one in (job.training, job)]
            assert times == sorted(times)


@pytest.mark.slow
def test_failure_is_told_and_others_go_on_and_the_next_start_tries_again(quick, jobs, tmp_path, capsys):
    quick("train_base/digits/shots_16/MPL/glyph/seed1", error="no such weights")
    ended = brought_to_an_end(jobs, tmp_path)
    assert ended["failed"] == [(jobs[4], "error: no such weights")]
    assert ended["blocked"] == [
        (jobs[5], f"the run needs {jobs[4].title}, which has not finished (error: no such weights)")
    ]
    assert len(ended["finished"]) == 6
    assert f"{jobs[4].title} has failed: error: no such weights." in capsys.readouterr().err
    record = json.loads((tmp_path / jobs[4].folder / state.FAILURE).read_text())
    assert (record["line"], record["exit"]) == ("error: no such weights", 1)
    quick("train_base/digits/shots_16/MPL/glyph/seed1")
    assert list(brought_to_an_end(jobs, tmp_path)) == ["finished"]
    assert counts(jobs, tmp_path) == [1, 1, 1, 1, 2, 1, 1, 1]
    assert not (tmp_path / jobs[4].folder / state.FAILURE).exists()


@pytest.mark.slow
def test_stale_result_is_neither_used_nor_run_over(quick, jobs, tmp_path):
    path = finish(jobs[4], tmp_path, 80.0)
    edit(path, config_hash="other", settings={"OPTIM.LR": "1"})
    before = path.read_bytes()
    ended = brought_to_an_end(jobs, tmp_path)
    assert [job for job, _ in ended["stale"]] == [jobs[4]]
    assert ended["blocked"][0][1].startswith(
        f"the run needs {jobs[4].title}, which has not finished (the result was made with different settings ("
    )
    assert path.read_bytes() == before


@pytest.mark.slow
def test_damaged_results_and_tests_of_older_models_are_run_again(quick, jobs, tmp_path):
    train, test = jobs[4:6]
    finish(train, tmp_path, 50.0).write_text("cut")
    finish(test, tmp_path, 50.0, prompts_hash="of an older model")
    assert list(brought_to_an_end([train, test], tmp_path)) == ["finished"]
    edit(tmp_path / test.folder / "result.json", prompts_hash="of an older model")
    assert list(brought_to_an_end([train, test], tmp_path)) == ["finished"]
    assert counts([train, test], tmp_path) == [1, 2]


@pytest.mark.parametrize(("how", "name"), [({}, "finished"), ({"error": "broken"}, "failed")])
def test_two_runners_do_not_run_a_job_twice(quick, jobs, tmp_path, how, name):
    quick(seconds=0.3, **how)
    runners = [chains.Chains(jobs, tmp_path, tmp_path) for _ in range(2)]
    slots = chains.make_slots([], chains.usable_cores(), 3)
    threads = [threading.Thread(target=runner.run, args=(slots,)) for runner in runners]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(100)
    assert counts(jobs, tmp_path) == ([1] * 8 if not how else [1, 1, 1, 1, 1, 0, 1, 0])
    for runner in runners:
        names = [stands.name for _, stands in runner.outcome(state.of_all(jobs, tmp_path))]
        assert {*names} == ({"finished"} if not how else {"failed", "blocked"})
        assert names[4] == name


@pytest.mark.parametrize("how", ["asked", "an error"])
def test_whatever_ends_the_runner_ends_its_runs(quick, jobs, tmp_path, monkeypatch, how):
    quick(seconds=60)
    runs = chains.Chains(jobs, tmp_path, tmp_path)
    runs.screen.live = True  # else nothing is shown

    def show(_):
        if sum(counts(jobs, tmp_path)) == 2:
            runs.stop.set()
            if how == "an error":
                raise RuntimeError

    monkeypatch.setattr(runs.screen, "show", show)
    with pytest.raises(KeyboardInterrupt if how == "asked" else RuntimeError):
        runs.run(chains.make_slots([], chains.usable_cores(), 2))
    assert [state.of(job, tmp_path).name for job in jobs] == ["waiting"] * 8
    assert all(has_ended(int(path.read_text())) for path in tmp_path.rglob("starts.txt"))


def test_run_that_does_not_heed_is_killed(tmp_path):
    words = "import signal, time; signal.signal(15, signal.SIG_IGN); print(1, flush=True); time.sleep(60)"
    child = single_run.start_program([sys.executable, "-c", words], os.environ, tmp_path / "console", [0])
    wait_for(lambda: (tmp_path / "console").read_text())
    single_run.stop(child, grace_s=0.2)
    assert child.poll() == -signal.SIGKILL


# ---------------------------------------------------------------------- one run


NO_MEMORY = "(possibly because the machine had no free memory). The last output was"


def brought(job, out, code=""):
    """How a run stands whose program is this code."""

    def run(console):
        return single_run.start_program([sys.executable, "-c", f"import os, sys; {code}"], os.environ, console).wait()

    return single_run.complete(job, [], out, None, time.time(), run)


@pytest.mark.parametrize(
    ("code", "name", "why"),
    [
        ("print('nothing to test')", "failed", "the process ended without a result. The last output was: nothing to test"),
        ("sys.exit('error: no file')", "failed", "error: no file"),
        ("print('hello', flush=True); os.kill(os.getpid(), 9)", "failed", f"SIGKILL ended the process {NO_MEMORY}: hello"),
        ("sys.exit(3)", "failed", ""),
        ("os.kill(os.getpid(), 15)", "waiting", ""),
        ("sys.exit(130)", "waiting", ""),
    ],
)  # fmt: skip
def test_killed_is_a_failure_and_stopped_is_none(jobs, tmp_path, code, name, why):
    assert brought(jobs[4], tmp_path, code)[:2] == (name, why)


def test_older_logs_are_named_after_their_time_and_a_console_is_not_written_through_a_link(jobs, tmp_path):
    folder = tmp_path / jobs[4].folder
    (folder / "job").mkdir(parents=True)
    (folder / "log.txt").write_text("an unfinished start")
    (folder / state.CONSOLE).symlink_to(tmp_path / "elsewhere")
    brought(jobs[4], tmp_path, "print('new')")
    assert [path.read_text() for path in folder.glob("log.txt*")] == ["an unfinished start"]
    assert not (folder / "log.txt").exists()
    assert (folder / state.CONSOLE).read_text() == "new\n"
    assert not (tmp_path / "elsewhere").exists()


def test_folder_that_went_meanwhile_is_the_reason(jobs, tmp_path):
    code = f"import shutil; shutil.rmtree({str(tmp_path / jobs[4].folder)!r})"
    assert brought(jobs[4], tmp_path, code)[:2] == ("failed", f"the output folder {run_folder.GONE}")


def test_run_that_lost_its_folder_to_another_writes_nothing_there(jobs, tmp_path):
    folder, others = tmp_path / jobs[4].folder, []

    def run(_):
        folder.rename(tmp_path / "aside")
        others.append(run_folder.take(folder))
        return 0

    with pytest.raises(lock.Busy):
        single_run.complete(jobs[4], [], tmp_path, None, time.time(), run)
    assert [path.name for path in folder.rglob("*") if path.is_file()] == ["lock"]
    others[0].release()


def test_run_by_hand_that_was_faster_is_waited_for(jobs, tmp_path):
    others = []

    def run(_):
        with pytest.raises(lock.Busy):  # nor does a second runner start it
            brought(jobs[4], tmp_path)
        others.append(run_folder.take(tmp_path / jobs[4].folder))
        return 2

    with pytest.raises(lock.Busy):
        single_run.complete(jobs[4], [], tmp_path, None, time.time(), run)
    assert state.of(jobs[4], tmp_path) == state.State("running")
    others[0].release()
    assert state.of(jobs[4], tmp_path) == state.State("waiting")


# ---------------------------------------------------------------------- slots


@pytest.mark.parametrize(
    ("gpus", "cores", "jobs", "shares"),
    [
        ([], [0, 1, 2, 3], 2, [(0, 1), (2, 3)]),
        ([], [4, 5, 6, 7, 8], 2, [(4, 5), (6, 7, 8)]),
        ([], [0, 1], 3, [(0,), (0,), (1,)]),
        ([], [*range(8)], None, [(0, 1), (2, 3), (4, 5), (6, 7)]),
        (["0", "3"], [*range(4)], None, [(0, 1), (2, 3)]),
    ],
)
def test_cores_are_shared_evenly(gpus, cores, jobs, shares):
    assert [slot.cores for slot in chains.make_slots(gpus, cores, jobs)] == shares


@pytest.mark.parametrize(
    ("jobs", "per_gpu", "of_gpus"),
    [
        (None, None, [("0", "1"), ("1", "1")]),
        (None, 2, [("0", "2"), ("1", "2")] * 2),
        (8, 2, [("0", "2"), ("1", "2")] * 2),
        (3, None, [("0", "2"), ("1", "2"), ("0", "2")]),  # shares decide numbers: all alike
        (1, 2, [("0", "1")]),
    ],
)
def test_gpus_are_used_in_turn(jobs, per_gpu, of_gpus):
    variables = [slot.variables for slot in chains.make_slots(["0", "1"], range(8), jobs, per_gpu)]
    assert [(one["CUDA_VISIBLE_DEVICES"], one["MODPROMPT_RUNS_ON_GPU"]) for one in variables] == of_gpus


def test_memory_of_a_gpu_is_shared_evenly():
    assert chains.make_slots(["0"], [0], None, 3)[0].variables["MODPROMPT_GPU_SHARE"] == "0.3000"
    assert "MODPROMPT_GPU_SHARE" not in chains.make_slots(["0"], [0])[0].variables
    with pytest.raises(UserError, match="--per-gpu needs a GPU, but .* lists a GPU. Remove --per-gpu"):
        chains.make_slots([], [0], None, 2)


def test_gpus_are_those_that_may_be_used(monkeypatch, tmp_path):
    fake = tmp_path / "nvidia-smi"
    fake.write_text("#!/bin/sh\necho 'GPU 0: NVIDIA H100 (UUID: GPU-a)'\necho 'GPU 1: NVIDIA H100 (UUID: GPU-b)'\n")
    fake.chmod(0o755)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    assert chains.usable_gpus() == ["0", "1"]
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    assert chains.usable_gpus() == []
    for value, cards in (("2,5", ["2", "5"]), ("", []), ("-1", []), ("GPU-a", ["GPU-a"])):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", value)
        assert chains.usable_gpus() == cards


def test_runs_keep_to_their_places(quick, jobs, tmp_path, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    quick(seconds=1.0)
    slots = chains.make_slots(["6"], chains.usable_cores(), None, 2)
    chains.Chains(jobs[:2], tmp_path, tmp_path).run(slots)
    results = [json.loads((tmp_path / job.folder / "result.json").read_text()) for job in jobs[:2]]
    assert [(one["gpu"], one["runs_on_gpu"], one["share"]) for one in results] == [("6", "2", "0.4500")] * 2
    assert sorted(tuple(one["cores"]) for one in results) == sorted(slot.cores for slot in slots)
    assert {one["threads"] for one in results} == {str(len(slots[0].cores))}
    assert {one["in_experiment"] for one in results} == {"1"}
    assert "OMP_NUM_THREADS" not in os.environ
