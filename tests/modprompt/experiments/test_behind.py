"""Heads behind the trained prompts of another method of the file: planned, told, held to them, and put aside with "
"them."""

import pytest

from modprompt.errors import UserError
from modprompt.experiments.plan import protocols
from modprompt.experiments.plan.check import check
from modprompt.experiments.plan.commands import expected_settings, flags
from modprompt.experiments.reporting.runs import collect
from modprompt.experiments.running import state
from tests.modprompt.experiments.fakes import finish

HEADS = """
protocol: base2new
datasets: [digits]
seeds: [1, 2]
joint_test: true
methods:
  MPL: {trainer: MPL, config: glyph}
  CLAP: {trainer: ADAPTER, config: glyph}
  CLAP on MPL: {trainer: ADAPTER, config: glyph, prompts_from: MPL}
"""
FRONT = "base2new/train_base/digits/shots_16/MPL/glyph/seed1"
FOLDER = "digits/shots_16/ADAPTER/glyph-behind_MPL_glyph/seed1"


def behind(experiment, text=HEADS):
    """(training, test on new classes, test of all) of the head behind prompts, seed 1."""
    jobs = [job for job in protocols.jobs(experiment(text)) if job.method.label == "CLAP on MPL" and job.seed == 1]
    return [job for job in jobs if job.fills_column]


def test_alone_in_a_selection_its_prompts_are_trained_first(experiment):
    text = HEADS.replace("protocol: base2new", "protocol: few_shot\nshots: [1, 4]").replace("joint_test: true\n", "")
    jobs = [job for job in protocols.wanted(experiment(text)) if job.seed == 1]
    of_head = [(job.folder, job.fills_column) for job in jobs if "behind" in job.folder or not job.fills_column]
    assert of_head == [
        ("digits/MPL/eval/glyph_1shots/seed1", False),
        ("digits/ADAPTER/eval/glyph-behind_MPL_glyph_1shots/seed1", True),
        ("digits/MPL/eval/glyph_4shots/seed1", False),
        ("digits/ADAPTER/eval/glyph-behind_MPL_glyph_4shots/seed1", True),
    ]


def test_its_prompts_are_those_of_their_own_method_and_every_run_names_them(experiment, tmp_path):
    jobs = protocols.jobs(experiment(HEADS))
    assert len({job.folder for job in jobs}) == len(jobs) == 3 * 2 * 3  # nothing is trained twice
    train, new, together = behind(experiment)
    kinds = ("train_base", "test_new", "test_all")
    assert [job.folder for job in (train, new, together)] == [f"base2new/{kind}/{FOLDER}" for kind in kinds]
    assert (train.needs.folder, new.needs.folder, train.first_stage.method.label) == (FRONT, train.folder, "MPL")
    for job in behind(experiment):
        assert flags(job, tmp_path, tmp_path)[-2:] == ["TRAINER.ADAPTER.PROMPTS_FROM", str(tmp_path / FRONT)]
        assert expected_settings(job, tmp_path)["TRAINER.ADAPTER.PROMPTS_FROM"] == str(tmp_path / FRONT)


def test_a_head_waits_for_its_prompts_and_is_stale_with_them(experiment, tmp_path):
    train, new, together = behind(experiment)
    finish(train, tmp_path, 80.0)
    known = state.by_result(train, tmp_path, None)
    assert (known.name, known.why) == (state.WAITING, "the training of the prompts has not finished")
    finish(train.first_stage, tmp_path, 70.0)
    assert state.by_result(train, tmp_path, None).name == state.FINISHED


def test_a_front_fills_no_column_of_the_head(experiment, tmp_path):
    made = experiment(HEADS)
    for job in protocols.jobs(made):
        if job.method.label == "MPL" and job.column == "base":
            finish(job, tmp_path, 70.0)
    states = [(job, state.by_result(job, tmp_path, None)) for job in protocols.jobs(made)]
    runs = collect(made, states)
    assert list(runs.select("MPL", "digits", "base")["accuracy_pct"]) == [70.0, 70.0]
    assert runs.select("CLAP on MPL", "digits", "base")["accuracy_pct"].isna().all()
    assert list(runs.methods["group"][["MPL", "CLAP", "CLAP on MPL"]]) == ["prompts", "heads", "prompts + head"]


def test_another_clip_than_its_prompts_is_told_before_anything_runs(experiment, tmp_path):
    text = HEADS.replace("glyph, prompts_from", "glyph, options: {MODEL.BACKBONE.PATH: x.pt}, prompts_from")
    with pytest.raises(
        UserError, match="but the training of the prompts uses ''. Both training runs need the same CLIP model"
    ):
        check(protocols.jobs(experiment(text)), tmp_path, tmp_path)
