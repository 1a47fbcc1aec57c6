"""Base and new classes together: which runs there are, what they are given, and who has none."""

import os

from modprompt.cli.flags import parse_args, settings_of
from modprompt.experiments.plan import protocols
from modprompt.experiments.plan.commands import command, expected_settings, flags, options
from modprompt.experiments.reporting import cost, tables
from modprompt.experiments.running import state
from tests.modprompt.experiments.conftest import FILE
from tests.modprompt.experiments.fakes import finish, narrowed_to, summary_of

TOGETHER = FILE.replace("seeds: [1, 2]", "seeds: [1]\njoint_test: true")
BOUND = "  CSC: {trainer: CoOp, config: glyph, options: {TRAINER.COOP.CSC: True, TRAINER.COOP.CTX_INIT: ''}}\n"
WORDS = BOUND.replace("CSC: {", "Words: {").replace("''", "a photo of a")


def test_all_classes_are_tested_behind_both_halves(experiment, tmp_path):
    jobs = protocols.jobs(experiment(TOGETHER))
    every = [(label, column) for label in ("CLIP", "MPL") for column in ("base", "new", "all")]
    assert [(job.method.label, job.column) for job in jobs] == every
    base, new, both = jobs[3:]
    assert both.folder == "base2new/test_all/digits/shots_16/MPL/glyph/seed1"
    assert (both.training, both.needs, both.kind) == (base, new, "test")
    given = dict(zip(options(both, tmp_path)[::2], options(both, tmp_path)[1::2]))
    assert given["TEST.FEATURES_OF"] == os.pathsep.join(str(tmp_path / job.folder) for job in (base, new))
    assert (given["DATASET.SUBSAMPLE_CLASSES"], given["TEST.BASE_NEW"]) == ("all", "True")
    assert expected_settings(both, tmp_path) == settings_of(parse_args(flags(both, tmp_path, tmp_path))).texts()
    assert jobs[2].feature_tests == tuple(jobs[:2])  # what trains nothing has no training either


def test_the_runs_of_both_halves_are_those_that_were_finished_without(experiment, tmp_path):
    """Whether features are kept decides no number: no run is stale for it."""
    alone = protocols.jobs(experiment(FILE))
    for job in alone:
        finish(job, tmp_path, 50)
    states = {job.folder: stands.name for job, stands in state.of_all(protocols.jobs(experiment(TOGETHER)), tmp_path)}
    assert [name for folder, name in states.items() if "test_all" not in folder] == [state.FINISHED] * 4
    assert [name for folder, name in states.items() if "test_all" in folder] == [state.WAITING] * 2
    assert "TEST.KEEP_FEATURES" not in command(alone[0], tmp_path, tmp_path)


def test_what_belongs_to_its_classes_has_no_such_run(experiment):
    found = experiment(TOGETHER + BOUND + WORDS)
    for column in ("new", "all"):
        assert [job.method.label for job in protocols.jobs(found) if job.column == column] == ["CLIP", "MPL", "Words"]
    columns = {method.label: protocols.columns_of(method, found) for method in found.methods}
    assert columns == {"CLIP": (), "MPL": (), "CSC": ("base",), "Words": ()}
    assert protocols.columns(found) == ("base", "new", "base (all)", "new (all)")
    assert narrowed_to(found, methods=["MPL"]).joint_test


TAUGHT = "  KD: {trainer: PromptKD, config: vit_b16_c2_ep20_batch8_4+4ctx}\n"


def test_what_is_taught_on_all_classes_fills_both_columns_of_one_run_and_says_what_it_saw(experiment, tmp_path):
    found = narrowed_to(experiment(FILE.replace("seeds: [1, 2]", "seeds: [1]") + TAUGHT), methods=["MPL", "KD"])
    jobs = protocols.jobs(found)
    (job,) = [one for one in jobs if one.method.label == "KD"]
    assert job.folder == "base2new/train_base/digits/shots_0/PromptKD/vit_b16_c2_ep20_batch8_4+4ctx/seed1"
    assert dict(job.options) == {"DATASET.NUM_SHOTS": "0", "DATASET.SUBSAMPLE_CLASSES": "all"}
    seen = "unlabelled images and names of new classes seen"
    half = {"images": 100, "correct": 80, "accuracy_pct": 80.0}
    apart = {"base": half, "new": {**half, "correct": 60, "accuracy_pct": 60.0}, "h_pct": 68.6}
    for one in jobs:
        more = {"halves_apart": apart, "seen": seen, "testing_s": 7.0} if one is job else {"testing_s": 1.0}
        finish(one, tmp_path, 70, **more)
    summary = summary_of(found, tmp_path)
    of_seeds = [summary.means.of_seeds("KD", ("digits", column)) for column in ("base", "new")]
    assert of_seeds == [{1: 80.0}, {1: 60.0}]
    assert f"KD ({seen})" in summary.tables[-1].names
    assert seen in tables.latex(summary.tables, "a title", "about")
    assert cost.costs(summary)["testing_s_mean"].to_dict() == {"MPL": 2.0, "KD": 7.0}
