"""Files of runs with parts of another type, nobody having written them so: a line or a reason, never a traceback."""

from __future__ import annotations

import json

import pytest

from modprompt.experiments.plan import protocols
from modprompt.experiments.plan.inputs import NOTES, Inputs
from modprompt.experiments.reporting import report
from modprompt.experiments.running import run, state, status
from modprompt.io.checksum import sealed
from modprompt.io.result import read
from tests.modprompt.experiments.conftest import FILE
from tests.modprompt.experiments.fake_rounds import fill_rounds
from tests.modprompt.experiments.fakes import edit, finish
from tests.modprompt.experiments.test_round_report import FILE as ROUNDS
from tests.modprompt.experiments.test_round_report import by_hand
from tests.mutations import changed, places

WRONG: tuple[object, ...] = (
    7,
    -1.5,
    float("nan"),
    float("inf"),
    10**18,
    True,
    "x",
    "\udcff\n=1",
    [],
    [[[]]],
    {},
    {"a": [1]},
    [{"a": None}],
)
WHOLE = {
    "dataset": "digits", "backbone": "glyph-clip", "split": {"name": "digits", "status": "ours", "hash": "h"},
    "class_names": {"names": ["one"]}, "clip": {"name": "glyph-clip", "fingerprint": "2:a", "heads": [1, 2]},
    "method": {"name": "MPL"}, "input": {"INPUT.SIZE": "32"}, "tested_on": "test", "selected_on": "val",
    "checkpoint": {"name": "a/b", "hash": "c"}, "evaluated": "", "init_weights": "d", "few_shot": {"hash": ""},
    "places": {"text": "in front"}, "search": {"mixture_pct": 1.0, "path_pct": 2}, "text_chunk": None,
    "elapsed_s": 3.5, "peak_gib": 0.1, "compile": {"asked": ""}, "device": "cpu", "versions": {"torch": "2"},
    "sources": {"SEED": "flag --seed"},
}  # fmt: skip


@pytest.fixture(autouse=True)
def no_figures(monkeypatch):
    monkeypatch.setattr(report, "can_draw", lambda: False)


@pytest.fixture
def words(experiment, tmp_path):
    experiment()
    return [str(tmp_path / "small.yaml"), "--out", str(tmp_path / "out"), "--data", str(tmp_path / "data")]


@pytest.mark.parametrize("content", [{"line": 3}, {"line": None, "time_s": "x"}, {"time_s": float("nan")}, {}, []])
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


@pytest.mark.parametrize("time_s", ["x", None, float("nan"), float("inf"), [1], True, 10**30])
def test_time_of_a_failure_that_is_none_counts_as_long_ago(jobs, tmp_path, time_s):
    path = tmp_path / jobs[0].folder / state.FAILURE
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"line": "error: a\nb\x1b[2J\udcff", "time_s": time_s}))
    stands = state.of(jobs[0], tmp_path)
    if time_s == 10**30:  # no JSON that is read
        assert stands.name == state.WAITING
    else:
        assert stands == state.State(state.FAILED, r"error: a b\x1b[2J\udcff", None, 0.0)


@pytest.mark.parametrize("text", ['{"cluster": "slurm"}', '{"cluster": "slurm", "job_id": [[1]]}', "[7]", "{" * 3000])
def test_queued_run_that_names_no_job_is_not_queued(tmp_path, text):
    from modprompt.experiments.running.slurm import submitted_as

    (tmp_path / "job").mkdir()
    (tmp_path / state.QUEUED).write_text(text)
    assert submitted_as(tmp_path) is None


@pytest.mark.parametrize("note", [7, None, [], {"stamp": [1]}, {"hash": 1, "old": 2}, {"hash": "x", "old": ""}])
def test_notes_of_clips_of_another_type_count_as_none(jobs, words, tmp_path, note, capsys):
    from modprompt.experiments.plan import inputs

    finish(jobs[0], tmp_path / "out", 80.0)
    found = inputs.clip_of(jobs[0])
    if isinstance(note, dict):
        note = {"stamp": inputs._stamp(found.file), **note}
    (tmp_path / "out" / NOTES).write_text(json.dumps(sealed({"clips": {found.key: note}}, 1)))
    assert status.main(words) == 0
    (tmp_path / "out" / NOTES).write_text(json.dumps(sealed({"clips": [note]}, 1)))
    assert status.main(words) == 0
    assert "1 finished" in capsys.readouterr().out


@pytest.mark.parametrize("recorded", ["\u00b2:abc", "9" * 5000 + ":abc", ":", "0:x"])
def test_hash_with_a_version_that_is_no_number_is_another_hash(jobs, words, tmp_path, recorded, capsys):
    finish(jobs[0], tmp_path / "out", 80.0, backbone_hash=recorded)
    Inputs(tmp_path / "out", None).note_clips(jobs)
    assert status.main(words) == 0
    assert "1 stale" in capsys.readouterr().out


def every_part(content):
    """The place of every part of a record, inner ones too; hashes and settings, which are compared, not."""
    return [place for place, _ in places(content) if place and not {"modprompt", "settings"} & set(place)]


def try_all(path, words, report_words, capsys, values=WRONG):
    """Put every wrong value into every part of a result; how many were tried, and how many were refused."""
    whole = {key: value for key, value in json.loads(path.read_text()).items() if key != "modprompt"}
    tried = refused = 0
    for place in every_part(whole):
        for wrong in values:
            path.write_text(json.dumps(sealed(changed(whole, place, wrong), 2)))
            assert status.main(words) == 0, (place, wrong)
            assert report.main(report_words) in (0, 1), (place, wrong)
            out, err = capsys.readouterr()
            assert "Traceback" not in out + err
            tried += 1
            why = read(path.parent).why
            refused += bool(why)
            assert not why or f"(its part {place[0]}" in why, (place, wrong, why)
    return tried, refused


@pytest.mark.slow
def test_result_with_any_part_of_another_type_is_told_as_damaged_or_read(jobs, words, tmp_path, capsys):
    for job in jobs:
        finish(job, tmp_path / "out", 80.0, **WHOLE)
    path = tmp_path / "out" / jobs[4].folder / "result.json"  # trained, and tested by another
    tried, refused = try_all(path, words, words[:-2], capsys, WRONG[2::3])
    assert tried > 200
    assert refused > tried / 2


@pytest.mark.slow
def test_result_of_rounds_with_any_part_of_another_type_is_told_as_damaged_or_read(experiment, tmp_path, capsys):
    found = experiment(ROUNDS)
    words = [str(tmp_path / "small.yaml"), "--out", str(tmp_path / "out")]
    fill_rounds(found, tmp_path / "out", by_hand)
    job = next(one for one in protocols.jobs(found) if "badge" in one.method.under)
    path = tmp_path / "out" / job.folder / "result.json"
    tried, refused = try_all(path, words, words, capsys, WRONG[1::4])
    assert tried > 100
    assert refused > tried / 2


def test_deep_endless_and_huge_results_are_damaged(jobs, words, tmp_path, capsys):
    path = finish(jobs[0], tmp_path / "out", 80.0)
    for text in ("[" * 100_000, '{"a":' * 5000 + "1" + "}" * 5000, '{"accuracy_pct": ' + "9" * 6000 + "}", "\xff"):
        path.write_bytes(text.encode("latin-1"))
        assert status.main(words) == 0
        assert "result.json is damaged" in capsys.readouterr().out


def test_schedules_that_are_no_schedules_are_left_out_of_the_figure(jobs, tmp_path, experiment):
    from modprompt.experiments.reporting.figures import token_counts
    from tests.modprompt.experiments.fakes import results_below

    path = finish(jobs[4], tmp_path / "out", 80.0)
    for text in ("(" * 5000, "-" * 200_000 + "1", "[[0, 1], 2]", "{}", "[[0, 'a']]", "None", "lambda: 1"):
        edit(path, schedules={"text": text, "vision": text})
        assert token_counts(results_below(experiment(FILE), tmp_path / "out")) == {}
