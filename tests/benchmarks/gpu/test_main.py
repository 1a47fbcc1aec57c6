"""The program of benchmarks.gpu: what is run, gone on with, left, failed; and that a dry run is no run on a card."""

import json
from types import SimpleNamespace

import pytest
import torch

from benchmarks.gpu import __main__ as program
from benchmarks.gpu import facts, process
from benchmarks.gpu.figure import curves
from benchmarks.gpu.measures import graphs
from benchmarks.gpu.plan import KINDS, METHODS, chosen, tasks
from benchmarks.gpu.records import Record, Records
from benchmarks.gpu.task import Found, Place, Row, Task
from modprompt.errors import UserError

DRY = Place(dry_run=True)


def here(task, place, records, seconds):
    """As process.run, in this process."""
    return Record(task, records.facts, KINDS[task.kind](task, place), "", 1.0)


def told(task, place, records, seconds):
    """As process.run, without running anything."""
    row = Row(f"figure of {task.name}", "1.50", "", "3 / 2 ms")
    return Record(task, records.facts, Found([row], {"ms": {"ours": 2.0, "plain": 3.0 * task.classes}}), "", 1.0)


@pytest.fixture
def run(monkeypatch, tmp_path):
    """The program with a stand-in for process.run; gives its exit code and the names of the cases that were begun."""

    def call(how, *words):
        begun = []

        def counted(task, *others):
            begun.append(task.name)
            return how(task, *others)

        monkeypatch.setattr(process, "run", counted)
        return program.main(["--dry-run", "--out", str(tmp_path), *words]), begun

    return call


def test_every_case_has_a_name_of_its_own_and_a_kind():
    names = [task.name for task in tasks()]
    assert len(set(names)) == len(names)
    assert {task.kind for task in tasks()} == set(KINDS)


def test_steps_are_timed_as_asked():
    timed = {(task.method, task.classes, task.how) for task in tasks() if task.kind == "step"}
    eager = {(method, classes, "") for method in METHODS for classes in (5, 50, 200, 1000)}
    assert timed == eager | {
        (m, classes, how) for m in METHODS for classes in (50, 1000) for how in ("default", "graph")
    }


def test_no_case_of_a_name_is_refused_with_the_names_there_are():
    with pytest.raises(UserError, match="--only stop: .*step-MPL-5-fp16"):
        chosen("stop")


def test_without_a_card_it_says_so_in_a_line(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert program.main(["--out", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: there is no CUDA card here")
    assert said.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_folder_that_is_no_checkout_is_refused_before_anything_runs(run, tmp_path, capsys):
    assert run(told, "--reference", str(tmp_path)) == (2, [])
    assert "no trainers/mpl.py" in capsys.readouterr().err


@pytest.mark.slow
def test_finished_cases_are_not_run_again(run, tmp_path):
    assert run(told, "--only", "step-MPL-5-") == (0, ["step-MPL-5-fp16"])
    assert run(told, "--only", "step-MPL-5-") == (0, [])
    code, begun = run(told, "--only", "step-MPL")
    assert code == 0
    assert "step-MPL-5-fp16" not in begun
    assert "| DRY RUN: figure of step-MPL-5-fp16 | 1.50 |  | 3 / 2 ms |" in (tmp_path / "gpu.md").read_text()


def test_cases_of_another_commit_are_run_again_and_do_not_stand_in_the_table(run, monkeypatch, tmp_path):
    run(told, "--only", "step-MPL-5-")
    monkeypatch.setattr(facts, "commit", lambda folder: "another")
    assert run(told, "--only", "step-MPL-1000-fp16-graph")[1] == ["step-MPL-1000-fp16-graph"]
    text = (tmp_path / "gpu.md").read_text()
    assert "commit another" in text
    assert "figure of step-MPL-5-fp16" not in text
    assert run(told, "--only", "step-MPL-5-")[1] == ["step-MPL-5-fp16"]


def test_damaged_record_is_no_record(run, tmp_path):
    run(told, "--only", "step-MPL-5-")
    (tmp_path / "step-MPL-5-fp16.json").write_text('{"facts": ')
    assert run(told, "--only", "step-MPL-5-") == (0, ["step-MPL-5-fp16"])


def test_case_that_fails_is_a_row_and_runs_last_the_next_time(run, tmp_path, capsys):
    def fails(task, place, records, seconds):
        if task.classes == 5:
            return Record(task, records.facts, None, "RuntimeError: CUDA error | bad", 1.0)
        return told(task, place, records, seconds) if task.classes == 50 else None

    code, begun = run(fails, "--only", "step-CoOp")
    assert code == 1
    assert begun[:3] == ["step-CoOp-5-fp16", "step-CoOp-50-fp16", "step-CoOp-200-fp16"]
    said = capsys.readouterr().out
    assert "failed: step-CoOp-5-fp16" in said
    assert "left: step-CoOp-200-fp16, step-CoOp-1000-fp16" in said
    assert (
        "| DRY RUN: step-CoOp-5-fp16 | failed |  | RuntimeError: CUDA error \\| bad |"
        in (tmp_path / "gpu.md").read_text()
    )
    assert run(told, "--only", "step-CoOp")[1][-1] == "step-CoOp-5-fp16"


def test_nothing_is_begun_when_the_minutes_are_over(run, capsys):
    assert run(told, "--only", "graph-MPL", "--minutes", "0") == (1, [])
    assert "left: graph-MPL-50-fp32, graph-MPL-50-fp16" in capsys.readouterr().out


def test_case_that_needs_more_than_all_minutes_has_failed(run, capsys):
    assert run(lambda *_: None, "--only", "graph-MPL")[0] == 1
    said = capsys.readouterr().out
    assert "failed: graph-MPL-50-fp32" in said
    assert "not ready in --minutes 9" in said
    assert "left: graph-MPL-50-fp16" in said


def test_dry_run_cannot_be_taken_for_a_card(run, tmp_path, monkeypatch):
    run(told, "--only", "step-MPL")
    lines = (tmp_path / "gpu.md").read_text().splitlines()
    assert lines[0].startswith("# DRY RUN")
    rows = [line for line in lines if line.startswith("|")]
    assert all(row.startswith(("| DRY RUN", "| ---")) for row in rows)
    assert "none, a DRY RUN on a CPU" in (tmp_path / "step-MPL-5-fp16.json").read_text()
    assert (tmp_path / "gpu.png").read_bytes().startswith(b"\x89PNG")


def test_figure_takes_eager_times_from_eager_cases():
    def record(how, ms):
        return Record(Task("step", "MPL", 50, how=how), {}, Found([], {"ms": ms}), "", 1.0)

    found = curves([record("graph", {"ours": 9.0, "ours graph": 1.0}), record("", {"ours": 2.0, "plain": 3.0})])
    assert found == {"MPL": {"ours": {50: 2.0}, "plain": {50: 3.0}, "ours graph": {50: 1.0}}}


def test_figure_leaves_out_graphs_that_were_not_recorded():
    numbers = {"ms": {"ours": 2.0, "ours graph": 2.0, "plain": 3.0}, "note": "not recorded: why"}
    record = Record(Task("step", "MPL", 50, how="graph"), {}, Found([], numbers), "", 1.0)
    assert curves([record]) == {"MPL": {"ours": {50: 2.0}, "plain": {50: 3.0}}}


def test_losses_of_a_graph_that_was_not_recorded_are_no_result_on_a_card(monkeypatch):
    side = SimpleNamespace(note=lambda: "not recorded: why")
    monkeypatch.setattr(graphs, "build", lambda *_: side)
    monkeypatch.setattr(graphs, "_losses", lambda *_: [1.0])
    task = Task("graph", "MPL", 50, "fp32")
    with pytest.raises(RuntimeError, match="not recorded: why"):
        graphs.measure(task, Place(False))
    assert graphs.measure(task, Place(True)).rows[0].measured == "not recorded"


def test_record_comes_back_as_it_was(tmp_path):
    records, task = Records(tmp_path, {"card": "one"}), Task("losses", "CoOp", 50, "fp32")
    record = Record(task, {"card": "one"}, Found([Row("a", "1")], {"losses": {"ours": [1.0]}}), "", 2.0)
    records.write(record)
    assert records.read(task) == record
    assert Records(tmp_path, {"card": "other"}).read(task) is None


@pytest.mark.slow
def test_case_in_a_process_of_its_own(tmp_path):
    assert program.main(["--dry-run", "--only", "graph-CoOp-50-fp32", "--out", str(tmp_path)]) == 0
    content = json.loads((tmp_path / "graph-CoOp-50-fp32.json").read_text())
    assert content["found"]["rows"][0][1] == "not recorded"
    assert "no CUDA device" in content["found"]["rows"][0][3]


@pytest.mark.slow
def test_case_that_raises_in_its_process_is_told_by_its_last_line(tmp_path):
    task = Task("nothing of this name")
    record = process.run(task, DRY, Records(tmp_path, {}), 60)
    assert record.found is None
    assert record.error == "KeyError: 'nothing of this name' (exit code 1)"


def test_process_is_ended_when_its_time_is_over(tmp_path):
    assert process.run(Task("step"), DRY, Records(tmp_path, {}), 0.05) is None


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_dry_run_walks_every_case(kind, run, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("benchmarks.gpu.__main__.publish", lambda *_: [])
    inside = process.run if kind == "evaluation" else here  # it builds trainers, which set the process
    code, begun = run(inside, "--only", kind, "--minutes", "60")
    assert code == 0, capsys.readouterr().out
    assert begun == [task.name for task in tasks() if task.kind == kind]
