"""All runs reach their end: in order, once, side by side with other runners, and around failures."""

import threading
import time

import pytest

from modprompt.experiments.running import local, runner, state
from tests.modprompt.experiments.conftest import starts
from tests.modprompt.experiments.fakes import edit, finish


def run(jobs, out, n=2):
    launcher = local.LocalLauncher(local.slots(n, [], local.usable_cores()))
    return runner.Runner(jobs, out, out, launcher).run()


def counts(jobs, out):
    return [starts(out / job.folder) for job in jobs]


def test_everything_runs_once_and_then_nothing(quick, jobs, tmp_path):
    assert run(jobs, tmp_path) == runner.Summary(8, [], [], [], [])
    assert all(state.of(job, tmp_path).name == "finished" for job in jobs)
    assert run(jobs, tmp_path).complete
    assert counts(jobs, tmp_path) == [1] * 8


def test_test_waits_for_its_training(quick, jobs, tmp_path, monkeypatch):
    order, plain = [], local.LocalLauncher.start

    def recorded(self, tasks):
        order.extend(task.folder for task in tasks)
        for task in tasks:
            assert not task.job.parent or (tmp_path / task.job.parent.folder / "result.json").exists()
        return plain(self, tasks)

    monkeypatch.setattr(local.LocalLauncher, "start", recorded)
    assert run(jobs, tmp_path, n=4).complete
    assert len(order) == 8


@pytest.mark.slow
def test_failure_is_told_and_others_go_on_and_the_next_start_tries_again(quick, jobs, tmp_path, capsys):
    quick("train_base/digits/shots_16/MPL/glyph/seed1", error="no such weights")
    summary = run(jobs, tmp_path)
    assert summary.finished == 6
    assert [(job.folder, why) for job, why in summary.failed] == [(jobs[4].folder, "error: no such weights")]
    assert [(job.folder, why) for job, why in summary.blocked] == [
        (jobs[5].folder, "its training has not finished (error: no such weights)")
    ]
    assert f"failed: {jobs[4].title}: error: no such weights" in capsys.readouterr().err
    quick("train_base/digits/shots_16/MPL/glyph/seed1")
    assert run(jobs, tmp_path).complete
    assert counts(jobs, tmp_path) == [1, 1, 1, 1, 2, 1, 1, 1]


def test_stale_result_is_neither_used_nor_run_over(quick, jobs, tmp_path):
    path = finish(jobs[4], tmp_path, 80.0)
    edit(path, config_hash="other", settings={"OPTIM.LR": "1"})
    before = path.read_bytes()
    summary = run(jobs, tmp_path)
    assert [job.folder for job, _ in summary.stale] == [jobs[4].folder]
    assert [(job.folder, why[:37]) for job, why in summary.blocked] == [
        (jobs[5].folder, "its training has not finished (made w")
    ]
    assert summary.finished == 6
    assert path.read_bytes() == before


def test_damaged_result_is_run_again(quick, jobs, tmp_path):
    path = finish(jobs[0], tmp_path, 80.0)
    path.write_bytes(path.read_bytes()[:40])
    assert run(jobs[:1], tmp_path).complete
    assert counts(jobs[:1], tmp_path) == [1]


def test_model_that_was_trained_again_is_tested_again(quick, jobs, tmp_path):
    assert run(jobs[4:6], tmp_path).complete
    edit(tmp_path / jobs[5].folder / "result.json", prompts_hash="of an older model")
    assert run(jobs[4:6], tmp_path).complete
    assert counts(jobs[4:6], tmp_path) == [1, 2]


@pytest.mark.slow
def test_two_runners_do_not_run_a_job_twice(quick, jobs, tmp_path):
    quick(seconds=0.5)
    summaries = []
    runners = [
        runner.Runner(jobs, tmp_path, tmp_path, local.LocalLauncher(local.slots(3, [], local.usable_cores())))
        for _ in range(2)
    ]
    threads = [threading.Thread(target=lambda one=one: summaries.append(one.run())) for one in runners]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(100)
    assert summaries == [runner.Summary(8, [], [], [], [])] * 2
    assert counts(jobs, tmp_path) == [1] * 8


def test_two_runners_do_not_run_a_failing_job_twice(quick, jobs, tmp_path):
    quick(seconds=0.3, error="broken")
    one, other = (
        runner.Runner(jobs[:1], tmp_path, tmp_path, local.LocalLauncher(local.slots(1, [], local.usable_cores())))
        for _ in range(2)
    )
    for summary in (one.run(), other.run()):
        assert [why for _, why in summary.failed] == ["error: broken"]
    assert counts(jobs[:1], tmp_path) == [1]


def test_test_of_a_model_that_changes_while_the_runner_runs_is_tested_again(quick, jobs, tmp_path):
    train, test = jobs[4:6]
    finish(train, tmp_path, 50.0).write_text("cut")
    finish(test, tmp_path, 50.0, prompts_hash="of an older model")
    assert run([train, test], tmp_path) == runner.Summary(2, [], [], [], [])
    assert counts([train, test], tmp_path) == [1, 1]


def started(job, out):
    end = time.monotonic() + 60
    while not starts(out / job.folder):
        assert time.monotonic() < end
        time.sleep(0.02)


def test_run_of_a_dead_runner_is_waited_for(quick, jobs, tmp_path):
    quick(seconds=1.5)
    launcher = local.LocalLauncher([local.Slot((local.usable_cores()[0],))])
    launcher.start([quick.task_of(jobs[0], tmp_path, tmp_path)])  # and its runner is gone
    started(jobs[0], tmp_path)
    assert run(jobs[:1], tmp_path).complete
    assert counts(jobs[:1], tmp_path) == [1]
    launcher.close()


def test_request_to_stop_ends_the_runs_between_steps(quick, jobs, tmp_path):
    quick(seconds=60)
    launcher = local.LocalLauncher(local.slots(2, [], local.usable_cores()))
    one = runner.Runner(jobs, tmp_path, tmp_path, launcher)
    one.stop.set()
    with pytest.raises(KeyboardInterrupt):
        one.run()
    assert all(run.poll() is not None for run in launcher.runs.values())
    assert [state.of(job, tmp_path).name for job in jobs] == ["waiting"] * 8


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_whatever_ends_the_runner_ends_its_runs(quick, jobs, tmp_path, monkeypatch, error):
    quick(seconds=60)
    one = runner.Runner(jobs, tmp_path, tmp_path, local.LocalLauncher(local.slots(2, [], local.usable_cores())))
    monkeypatch.setattr(one, "_show", lambda: (_ for _ in ()).throw(error) if len(one.running) == 2 else None)
    with pytest.raises(error):
        one.run()
    assert [state.of(job, tmp_path).name for job in jobs] == ["waiting"] * 8


def test_result_that_becomes_stale_meanwhile_is_not_run_over(quick, jobs, tmp_path):
    one = runner.Runner(jobs[:1], tmp_path, tmp_path, local.LocalLauncher(local.slots(1, [], local.usable_cores())))
    path = finish(jobs[0], tmp_path, 80.0)  # another runner's, of other settings
    edit(path, config_hash="other", settings={"OPTIM.LR": "1"})
    summary = one.run()
    assert [job.folder for job, _ in summary.stale] == [jobs[0].folder]
    assert counts(jobs[:1], tmp_path) == [0]
