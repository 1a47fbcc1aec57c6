"""Files of runs with parts of another type, nobody having written them so: a line or a reason, never a traceback."""

from __future__ import annotations

import json

import pytest

from modprompt.experiments.reporting import report
from modprompt.experiments.running import run, state, status
from tests.modprompt.experiments.conftest import FILE
from tests.modprompt.experiments.fakes import edit, finish


@pytest.fixture(autouse=True)
def no_figures(monkeypatch):
    monkeypatch.setattr(report.figures, "can_draw", lambda: False)


@pytest.fixture
def words(experiment, tmp_path):
    experiment()
    return [str(tmp_path / "small.yaml"), "--out", str(tmp_path / "out"), "--data", str(tmp_path / "data")]


@pytest.mark.parametrize("content", [{"line": 3}, []])
def test_record_of_a_failure_of_another_type_is_still_one(jobs, words, tmp_path, content, capsys):
    path = tmp_path / "out" / jobs[0].folder / state.FAILURE
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(content))
    stands = state.of(jobs[0], tmp_path / "out")
    assert stands.failed_s == 0.0
    if content == []:  # no record of anything
        assert stands == state.State(state.WAITING)
    else:
        assert stands[:2] == (state.FAILED, "job/failure.json is damaged and does not say why")
        assert status.main(words) == 0
        assert "does not say why" in capsys.readouterr().out
    assert run.main([*words, "--dry-run"]) == 0


@pytest.mark.parametrize("time_s", ["x", float("nan"), True])
def test_time_of_a_failure_that_is_none_counts_as_long_ago(jobs, tmp_path, time_s):
    path = tmp_path / jobs[0].folder / state.FAILURE
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"line": "error: a\nb\x1b[2J\udcff", "time_s": time_s}))
    assert state.of(jobs[0], tmp_path) == state.State(state.FAILED, r"error: a b\x1b[2J\udcff", None, 0.0)


@pytest.mark.parametrize("text", ['{"cluster": "slurm"}', '{"cluster": "slurm", "job_id": [[1]]}', "[7]"])
def test_queued_run_that_names_no_job_is_not_queued(tmp_path, text):
    from modprompt.experiments.running.slurm import submitted_as

    (tmp_path / "job").mkdir()
    (tmp_path / state.QUEUED).write_text(text)
    assert submitted_as(tmp_path) is None


@pytest.mark.parametrize("recorded", ["\u00b2:abc", "9" * 5000 + ":abc", ":", "0:x"])
def test_hash_with_a_version_that_is_no_number_is_another_hash(jobs, words, tmp_path, recorded, capsys):
    finish(jobs[0], tmp_path / "out", 80.0, backbone_hash=recorded)
    assert status.main(words) == 0
    assert "1 stale" in capsys.readouterr().out


def test_schedules_that_are_no_schedules_are_left_out_of_the_figure(jobs, tmp_path, experiment):
    from modprompt.experiments.reporting.figures import token_counts
    from tests.modprompt.experiments.fakes import results_below

    path = finish(jobs[4], tmp_path / "out", 80.0)
    for text in ("(" * 5000, "-" * 200_000 + "1", "[[0, 1], 2]", "{}", "[[0, 'a']]", "None", "lambda: 1"):
        edit(path, schedules={"text": text, "vision": text})
        assert token_counts(results_below(experiment(FILE), tmp_path / "out")) == {}
