"""The program of benchmarks.gpu: what is run, gone on with, left, failed; and that a dry run is no run on a GPU."""

import json
import time
import warnings

import pytest
import torch

from benchmarks.gpu import __main__ as program
from benchmarks.gpu import facts, process
from benchmarks.gpu.figure import curves
from benchmarks.gpu.measures import counts, steps
from benchmarks.gpu.measures.losses import CPU
from benchmarks.gpu.plan import KINDS, METHODS, Kind, chosen, quick, tasks
from benchmarks.gpu.records import Record, Records
from benchmarks.gpu.rows import NOT_HELD, at_least, not_run, told
from benchmarks.gpu.task import Found, Place, Task
from modprompt.errors import UserError

DRY = Place(dry_run=True)
STEP = Task("step", "MPL", 5, "fp16")


def every(full=True):
    return [task for group in tasks(full) for task in group]


def fine(task):
    """What a case finds, without running anything."""
    row = at_least(f"figure of {task.name}", 1.5, 1, "3 / 2 ms")
    return Found([row], {"ms": {"ours": 2.0, "plain": 3.0 * task.classes}})


@pytest.fixture
def run(monkeypatch, tmp_path):
    """The program with a stand-in for process.run; gives its exit code and the names of the cases that were begun.

    `how` gives what a case finds, the text of why it finds nothing, or None where the time was over.
    """

    def call(how, *words):
        begun = []

        def stand_in(some, place, records, over):
            for task in some:
                begun.append(task.name)
                found = how(task)
                if found is None:
                    return
                failed = isinstance(found, str)
                yield Record(task, records.facts, None if failed else found, found if failed else "", 1.0)

        monkeypatch.setattr(process, "run", stand_in)
        return program.main(["--dry-run", "--out", str(tmp_path), *words]), begun

    return call


def test_every_case_has_a_name_of_its_own_and_a_kind():
    names = [task.name for task in every()]
    assert len(set(names)) == len(names)
    assert {task.kind for task in every()} == set(KINDS)


def test_full_has_all_that_quick_has_and_compiles_alone():
    assert set(every(full=False)) < set(every())
    assert "compiled" not in {task.kind for task in every(full=False)}


def test_first_it_is_seen_whether_the_machine_can_be_measured():
    assert quick()[0] == [Task("ready")]


def test_steps_are_timed_as_asked():
    timed = {(task.method, task.classes) for group in quick() for task in group if task.kind == "step"}
    assert timed == {(method, classes) for method in METHODS for classes in (5, 50, 1000)}


def test_cases_of_a_method_share_a_process():
    (group,) = [group for group in quick() if STEP in group]
    assert {task.kind for task in group} >= {"counts", "step", "memory", "test"}


def test_several_beginnings_of_names_may_be_given():
    found = [task.name for group in chosen(False, ["resume", "losses-MPL"]) for task in group]
    assert found == ["losses-MPL-5-fp32-cpu", "resume-MPL-4-fp16", "losses-MPL-5-fp32", "losses-MPL-5-fp16"]


def test_no_case_of_a_name_is_refused_with_the_names_there_are():
    with pytest.raises(UserError, match="--only stop: .*losses, ready, .*step"):
        chosen(True, ["step", "stop"])


def test_without_a_gpu_it_says_so_in_a_line(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert program.main(["--out", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: there is no GPU to measure (")
    assert said.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_folder_that_is_no_checkout_is_refused_before_anything_runs(run, tmp_path, capsys):
    assert run(fine, "--reference", str(tmp_path)) == (2, [])
    assert "no trainers/mpl.py" in capsys.readouterr().err


@pytest.mark.slow
def test_finished_cases_are_not_run_again_and_full_goes_on_behind_quick(run, tmp_path):
    assert run(fine, "--only", "step-MPL-5-") == (0, ["step-MPL-5-fp16"])
    assert run(fine, "--only", "step-MPL-5-") == (0, [])
    code, begun = run(fine, "--full", "--only", "step-MPL")
    assert code == 0
    assert begun == [f"step-MPL-{classes}-fp16" for classes in (50, 1000, 200)]
    row = "| DRY RUN: figure of step-MPL-5-fp16 | >= 1 | 1.50 | held | 3 / 2 ms |"
    assert row in (tmp_path / "gpu.md").read_text()


def test_machine_is_looked_at_every_time(run):
    assert run(fine, "--only", "ready") == run(fine, "--only", "ready") == (0, ["ready"])


def test_cases_of_other_sources_are_run_again_and_do_not_stand_in_the_table(run, monkeypatch, tmp_path):
    run(fine, "--only", "step-MPL-5-")
    monkeypatch.setattr(facts, "hash_of", lambda *_: "another")
    assert run(fine, "--only", "step-MPL-1000")[1] == ["step-MPL-1000-fp16"]
    text = (tmp_path / "gpu.md").read_text()
    assert "sources another" in text
    assert "figure of step-MPL-5-fp16" not in text
    assert run(fine, "--only", "step-MPL-5-")[1] == ["step-MPL-5-fp16"]


def test_hash_of_sources_needs_no_git_and_sees_names_and_contents(tmp_path):
    (tmp_path / "clip").mkdir()
    file = tmp_path / "clip" / "one.py"
    file.write_text("x = 1")
    first = facts.hash_of(tmp_path, ["clip"])
    file.write_text("x = 2")
    second = facts.hash_of(tmp_path, ["clip"])
    third = facts.hash_of(file.rename(tmp_path / "clip" / "two.py").parent.parent, ["clip"])
    assert len({first, second, third}) == 3
    (tmp_path / "clip" / "picture.png").write_bytes(b"")
    assert facts.hash_of(tmp_path, ["clip"]) == third


def test_damaged_record_is_no_record(run, tmp_path):
    run(fine, "--only", "step-MPL-5-")
    (tmp_path / "step-MPL-5-fp16.json").write_text('{"facts": ')
    assert run(fine, "--only", "step-MPL-5-") == (0, ["step-MPL-5-fp16"])


def test_case_that_fails_is_a_row_that_does_not_hold_and_runs_last_the_next_time(run, tmp_path, capsys):
    def fails(task):
        return "RuntimeError: CUDA error (exit code 1)" if task.classes == 5 else fine(task)

    code, begun = run(fails, "--only", "step-CoOp")
    assert code == 1
    assert begun == [f"step-CoOp-{classes}-fp16" for classes in (5, 50, 1000)]
    assert "NOT held: step-CoOp-5-fp16" in capsys.readouterr().out
    row = "| DRY RUN: step-CoOp-5-fp16 | it ends well | failed | NOT held | RuntimeError: CUDA error (exit code 1) |"
    assert row in (tmp_path / "gpu.md").read_text()
    assert run(fine, "--only", "step-CoOp") == (0, ["step-CoOp-5-fp16"])


@pytest.mark.parametrize(
    ("found", "code"),
    [
        (Found([told("ms", "3.1")], {}), 0),
        (Found([not_run("official", "no --reference")], {}), 0),
        ("not run: the package yacs is missing", 0),
        (Found([at_least("ratio", 0.9, 1)], {}), 1),
        ("it had not ended within 60 s", 1),
    ],
    ids=["told", "no reference", "no package", "not held", "too slow"],
)
def test_exit_code_is_1_where_a_row_does_not_hold(run, found, code):
    assert run(lambda task: found, "--only", "resume")[0] == code


def test_what_a_package_was_missing_for_is_run_when_it_is_there(run):
    run(lambda task: "not run: the package yacs is missing", "--only", "resume")
    assert run(fine, "--only", "resume") == (0, ["resume-MPL-4-fp16"])


def test_what_is_left_when_the_minutes_are_over_is_told_and_fails(run, capsys, tmp_path):
    code, begun = run(lambda task: fine(task) if task.classes == 5 else None, "--only", "step-MPL")
    assert (code, begun) == (1, ["step-MPL-5-fp16", "step-MPL-50-fp16"])
    assert "the 9 minutes are over, 2 cases are left: the same command goes on" in capsys.readouterr().out
    assert "Left: step-MPL-50-fp16, step-MPL-1000-fp16." in (tmp_path / "gpu.md").read_text()


def test_cpus_side_is_there_before_the_gpus_losses_begin(run):
    begun = run(fine, "--only", "losses-CoOp", "resume")[1]
    assert begun.index("losses-CoOp-5-fp32-cpu") < begun.index("losses-CoOp-5-fp32")


def test_interrupt_ends_what_the_cpu_computes_meanwhile(monkeypatch, tmp_path):
    ended = []

    def interrupted(some, place, records, over):
        if not some:
            return iter(())
        if some[0].how != CPU:
            raise KeyboardInterrupt
        while not over():
            time.sleep(0.01)
        ended.append(some)
        return iter(())

    monkeypatch.setattr(process, "run", interrupted)
    assert program.main(["--dry-run", "--out", str(tmp_path), "--only", "losses", "resume"]) == 130
    assert len(ended) == 1


def test_dry_run_cannot_be_taken_for_a_gpu(run, tmp_path):
    run(fine, "--only", "step-MPL")
    lines = (tmp_path / "gpu.md").read_text().splitlines()
    assert lines[0].startswith("# DRY RUN")
    rows = [line for line in lines if line.startswith("|")]
    assert all(row.startswith(("| DRY RUN", "| ---")) for row in rows)
    assert "none, a DRY RUN on a CPU" in (tmp_path / "step-MPL-5-fp16.json").read_text()
    assert (tmp_path / "gpu.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "gpu.zip").is_file()


def test_figure_takes_eager_times_from_the_first_case_that_has_them():
    def record(kind, how, ms):
        return Record(Task(kind, "MPL", 50, "fp16", how), {}, Found([], {"ms": ms}), "", 1.0)

    found = curves([record("step", "", {"ours": 2.0, "plain": 3.0}), record("compiled", "default", {"ours": 9.0})])
    assert found == {"MPL": {"ours": {50: 2.0}, "plain": {50: 3.0}}}


def test_all_warnings_of_waits_are_counted_and_no_others():
    def call():
        for _ in range(3):
            warnings.warn("called a synchronizing CUDA operation", UserWarning, stacklevel=1)
        warnings.warn("this does not yet detect all synchronizing operations", UserWarning, stacklevel=1)

    assert counts.waits(call, DRY) == ["called a synchronizing CUDA operation"] * 3


def test_record_comes_back_as_it_was(tmp_path):
    records, task = Records(tmp_path, {"GPU": "one"}), Task("losses", "CoOp", 50, "fp32")
    record = Record(task, {"GPU": "one"}, Found([told("a", "1")], {"losses": {"ours": [1.0]}}), "", 2.0)
    records.write(record)
    assert records.read(task) == record
    assert Records(tmp_path, {"GPU": "other"}).read(task) is None


def test_a_user_may_be_called_as_a_kind_of_case_is(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", "/home/losses")
    task = Task("losses", "CoOp", 50, "fp32")
    records = Records(tmp_path, {"GPU": "one of losses"})
    records.write(Record(task, records.facts, Found([told("a", "/home/losses/b c")], {}), "", 2.0))
    found = records.read(task)
    assert found.task == task
    assert "losses" not in str(found.found.rows)


# ---------------------------------------------------------------- processes


def ends_in(seconds):
    ends = time.monotonic() + seconds
    return lambda: time.monotonic() >= ends


def run_all(some, folder, seconds=300.0):
    return list(process.run(some, DRY, Records(folder, {}), ends_in(seconds)))


@pytest.mark.slow
def test_cases_behind_one_that_fails_go_on_in_a_new_process(tmp_path):
    first, last = (Task("test", method, 50, "fp32") for method in ("CoOp", "MaPLe"))
    records = run_all([first, Task("nothing of this name"), last], tmp_path)
    assert [record.task for record in records] == [first, Task("nothing of this name"), last]
    assert [record.found is None for record in records] == [False, True, False]
    assert records[1].error == "KeyError: 'nothing of this name' (exit code 1)"


@pytest.mark.slow
def test_case_that_does_not_end_is_ended_and_told(tmp_path, monkeypatch):
    monkeypatch.setattr(process, "START_S", 0.0)
    monkeypatch.setitem(KINDS, "step", Kind(steps.measure, 0.01))
    (record,) = run_all([STEP], tmp_path)
    assert record.error == "it had not ended within 0.05 s"


def test_no_process_goes_on_when_all_time_is_over(tmp_path):
    assert run_all([STEP], tmp_path, 0.05) == []


def test_package_that_is_missing_is_no_fault_but_a_module_of_ours_is(tmp_path):
    log = tmp_path / "log"
    log.write_text("Traceback\nModuleNotFoundError: No module named 'yacs'\n")
    assert process._why(log, 1, 60) == "not run: the package yacs is missing"
    log.write_text("ModuleNotFoundError: No module named 'modprompt.nothing'")
    assert process._why(log, 1, 60) == "ModuleNotFoundError: No module named 'modprompt.nothing' (exit code 1)"
    log.write_text("")
    assert process._why(log, -9, 60) == "ended by signal 9"


def test_what_is_too_large_for_the_gpu_is_not_run(monkeypatch):
    def full(task, place):
        raise torch.cuda.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setitem(KINDS, "step", Kind(full))
    (row,) = process._found(STEP, DRY).rows
    assert row.measured == "not run: it is too large for this GPU"


WALKED = [next(task for task in every() if task.kind == kind) for kind in KINDS if kind not in ("tests", "losses")]


@pytest.mark.slow
@pytest.mark.parametrize("task", WALKED, ids=lambda task: task.kind)
def test_dry_run_walks_every_kind(task, tmp_path):
    (record,) = run_all([task], tmp_path)
    assert record.found is not None, record.error
    assert [row for row in record.rows if row.verdict == NOT_HELD] == []
    json.dumps(record.content())
