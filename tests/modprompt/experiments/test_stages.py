"""Methods of two stages: a search, whose schedule is trained; planned, run, held to it and reported."""

import json
import os

import pytest

from modprompt.errors import UserError
from modprompt.experiments.plan import protocols
from modprompt.experiments.plan.check import check
from modprompt.experiments.plan.commands import expected_settings, flags
from modprompt.experiments.running import run, state
from tests.modprompt.experiments.conftest import brought_to_an_end, starts
from tests.modprompt.experiments.fakes import edit, finish, leave_schedules, schedules

FIRST_STAGES = """
protocol: base2new
datasets: [digits]
seeds: [1, 2]
methods:
  IVLP: {trainer: IVLP, config: glyph}
  Searched: {trainer: IVLP, config: glyph, search: {trainer: MPL, config: glyph, options: {SEARCH.ON: True}}}
"""
ONCE = FIRST_STAGES.replace("}}}", "}}, search_seed: 7}")
FOLDER = "glyph-MPL_glyph-ONTrue"


@pytest.fixture
def staged(experiment):
    """(search, training, test) of the two-stage method, seed 1."""
    return protocols.jobs(experiment(FIRST_STAGES))[4:7]


def done(staged, out, add=2):
    """The three runs of a two-stage method, finished."""
    search, train, test = staged
    finish(search, out, 60.0)
    leave_schedules(search, out, add)
    finish(train, out, 80.0)
    finish(test, out, 70.0)


def test_search_is_on_the_base_classes_and_stands_before_its_training(staged):
    search, train, test = staged
    assert [(job.kind, job.folder) for job in staged] == [
        ("search", "search/base2new/train_base/digits/shots_16/MPL/glyph-ONTrue/seed1"),
        ("training", f"base2new/train_base/digits/shots_16/IVLP/{FOLDER}/seed1"),
        ("test", f"base2new/test_new/digits/shots_16/IVLP/{FOLDER}/seed1"),
    ]
    assert (search.needs, train.needs, test.needs) == (None, search, train)
    assert dict(search.options)["DATASET.SUBSAMPLE_CLASSES"] == "base"
    assert search.title == "Searched, digits base, seed 1 (search)"


def test_one_search_serves_all_seeds_if_it_is_said(experiment):
    jobs = protocols.jobs(experiment(ONCE))
    searches = [job for job in jobs if job.kind == "search"]
    assert [(job.seed, job.folder.rpartition("/")[2]) for job in searches] == [(7, "seed7")]
    trainings = [job for job in jobs if job.method.label == "Searched" and job.kind == "training"]
    assert [(job.seed, job.first_stage.folder) for job in trainings] == [(seed, searches[0].folder) for seed in (1, 2)]
    assert trainings[0].folder.split("/")[-2] == f"{FOLDER}_seed7"


def test_search_has_the_clip_of_its_training_and_what_is_set_for_every_run(experiment):
    clip = "IVLP, config: glyph, options: {MODEL.BACKBONE.PATH: x.pt, OPTIM.LR: 1}, search"
    text = FIRST_STAGES.replace("IVLP, config: glyph, search", clip) + "options: {TRAIN.PRINT_FREQ: 3}\n"
    search = next(job for job in protocols.jobs(experiment(text)) if job.kind == "search")
    options = {"TRAIN.PRINT_FREQ": "3", "MODEL.BACKBONE.PATH": "x.pt", "SEARCH.ON": "True"}
    assert dict(search.method.options) == options


def test_training_names_the_file_and_must_show_what_is_in_it(staged, tmp_path):
    search, train, test = staged
    at = f"@{tmp_path / search.folder}/schedule.json"
    for job in (train, test):
        words = flags(job, tmp_path, tmp_path)
        assert words[-4:] == ["TRAINER.IVLP.SCHEDULE_TEXT", at, "TRAINER.IVLP.SCHEDULE_VISION", at]
        assert expected_settings(job, tmp_path)["TRAINER.IVLP.SCHEDULE_TEXT"] == at
    assert "SCHEDULE" not in str(flags(search, tmp_path, tmp_path))
    leave_schedules(search, tmp_path, 3)
    for job in (train, test):
        assert expected_settings(job, tmp_path)["TRAINER.IVLP.SCHEDULE_VISION"].startswith("[[0, 3], [3, 3], ")
        assert at not in expected_settings(job, tmp_path).values()


def test_training_of_another_schedule_or_of_a_stale_search_is_stale_and_so_is_its_test(staged, tmp_path):
    done(staged, tmp_path)
    assert [state.of(job, tmp_path).name for job in staged] == ["finished"] * 3
    leave_schedules(staged[0], tmp_path, 3)
    os.utime(tmp_path / staged[0].folder / "schedule.json", ns=(1, 1))
    search, train, test = (state.of(job, tmp_path) for job in staged)
    assert (search.name, train.name, test.name) == ("finished", "stale", "stale")
    assert "TRAINER.IVLP.SCHEDULE_TEXT [[0, 2], [2, 2]" in train.why
    assert "-> [[0, 3], [3, 3]" in train.why
    path = tmp_path / staged[0].folder / "result.json"
    edit(path, settings={**json.loads(path.read_text())["settings"], "OPTIM.LR": "7"})
    search, train, test = (state.of(job, tmp_path) for job in staged)
    assert search.why == "the result was made with different settings (OPTIM.LR 7 -> 0.02)"
    assert train[:2] == test[:2] == ("stale", f"the search for the schedule is stale, because {search.why}")


def test_a_search_without_a_whole_schedule_or_a_result_is_waited_for(staged, tmp_path):
    done(staged, tmp_path)
    folder = tmp_path / staged[0].folder
    (folder / "schedule.json").write_text("{}")
    assert state.of(staged[0], tmp_path).name == state.of(staged[1], tmp_path).name == "waiting"
    assert "schedule.json is not a valid schedule.json of a schedule search" in state.of(staged[0], tmp_path).why
    (folder / "schedule.json").unlink()
    assert (
        "the run did not write schedule.json, because its trainer and options do not search for a schedule"
        in state.of(staged[0], tmp_path).why
    )
    (folder / "result.json").unlink()
    assert [state.of(job, tmp_path)[:2] for job in staged[1:]] == [
        ("waiting", "the search for the schedule has not finished")
    ] * 2


def test_runs_come_in_order_and_each_once(quick, experiment, tmp_path):
    jobs = protocols.jobs(experiment(ONCE))
    assert list(brought_to_an_end(jobs, tmp_path)) == [state.FINISHED]
    assert [starts(tmp_path / job.folder) for job in jobs] == [1] * 9
    result = json.loads((tmp_path / jobs[5].folder / "result.json").read_text())
    assert result["settings"]["TRAINER.IVLP.SCHEDULE_TEXT"].startswith("[[0, 2], [2, 2]")
    assert list(brought_to_an_end(jobs, tmp_path)) == [state.FINISHED]
    assert [starts(tmp_path / job.folder) for job in jobs] == [1] * 9


@pytest.mark.slow
def test_stale_search_goes_aside_with_all_that_its_schedule_made(quick, experiment, tmp_path, capsys):
    jobs = protocols.jobs(experiment(FIRST_STAGES.replace("[1, 2]", "[1]"), "stages"))
    staged, out = jobs[2:], tmp_path / "out"
    done(staged, out)
    path = out / staged[0].folder / "result.json"
    edit(path, settings={**json.loads(path.read_text())["settings"], "OPTIM.LR": "7"})
    quick("search/", schedules=schedules(3))
    words = [str(tmp_path / "stages.yaml"), "--out", str(out), "--data", str(tmp_path / "data")]
    assert run.main([*words, "--redo-stale"]) == 0
    assert capsys.readouterr().out.count("The stale result was moved to ") == 3
    assert [starts(out / job.folder) for job in staged] == [1, 1, 1]


def test_two_searches_of_one_folder_and_other_settings_are_refused(experiment):
    more = FIRST_STAGES.splitlines()[-1].replace("Searched", "Other").replace("IVLP", "VPT")
    protocols.jobs(experiment(FIRST_STAGES + more))
    other = more.replace("SEARCH.ON: True", "SEARCH.ON: True, MODEL.BACKBONE.PATH: x.pt")
    with pytest.raises(UserError, match=r"\(search\) would use the same folder"):
        protocols.jobs(experiment(FIRST_STAGES + other))


def test_search_that_does_not_search_is_told_before_anything_runs(experiment, tmp_path):
    with pytest.raises(
        UserError, match="search of Searched: MPL does not search for a schedule. Set SEARCH.ON to True"
    ):
        check(protocols.jobs(experiment(FIRST_STAGES.replace("ON: True", "ON: False"))), tmp_path, tmp_path)


def test_method_that_has_no_schedule_of_its_own_is_checked_without_one(experiment, tmp_path):
    text = FIRST_STAGES.replace("trainer: IVLP, config: glyph, s", "trainer: DPL, config: glyph, options: {more}, s")
    assert check(protocols.jobs(experiment(text.replace("{more}", "{OPTIM.LR: 1}"))), tmp_path, tmp_path) == []
    with pytest.raises(UserError, match="method Searched: .*TRAINER.DPL.CTX_INIT must be one of"):
        check(protocols.jobs(experiment(text.replace("{more}", "{TRAINER.DPL.CTX_INIT: none}"))), tmp_path, tmp_path)
    alone = protocols.jobs(experiment(text[: text.index(", search: ")].replace("{more}", "{OPTIM.LR: 1}") + "}\n"))
    with pytest.raises(UserError, match="method Searched: .*TRAINER.DPL.LENGTHS_TEXT is missing"):
        check(alone, tmp_path, tmp_path)
