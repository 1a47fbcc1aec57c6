"""A report of base and new classes together, and its reports without."""

import csv

import numpy as np
import pytest

from modprompt.experiments.plan import protocols
from modprompt.experiments.reporting import notes, report
from modprompt.io.base_new import harmonic_mean
from tests.modprompt.experiments.fakes import finish, row, runs_below, summary_of
from tests.modprompt.experiments.test_base2new import BOUND, TOGETHER

TWO_SEEDS = TOGETHER.replace("seeds: [1]", "seeds: [1, 2]")


def halves(base, new):
    of = {
        "base": {"images": 8, "correct": 5, "accuracy_pct": base},
        "new": {"images": 8, "correct": 5, "accuracy_pct": new},
    }
    return {"halves": {**of, "h_pct": harmonic_mean(base, new)}}


def fill(found, out, **more):
    for job in protocols.jobs(found):
        both = halves(60 + job.seed, 50 - job.seed) if job.column == "all" else {}
        finish(job, out, 55, **both, **more)


def test_tables_have_the_halves_among_all_and_their_h(experiment, tmp_path):
    found = experiment(TWO_SEEDS)
    fill(found, tmp_path)
    (section,) = summary_of(found, tmp_path).tables
    assert section.columns == ("base", "new", "H", "H (all)")
    assert section.deciding == "H"  # which methods are ranked by
    mpl = row(section, "MPL")
    own = [harmonic_mean(60 + seed, 50 - seed) for seed in (1, 2)]
    assert mpl["H (all)"] == pytest.approx((harmonic_mean(61.5, 48.5), np.std(own)))


@pytest.mark.slow
def test_report_has_it_in_a_file_of_its_own(experiment, tmp_path):
    found = experiment(TWO_SEEDS, "two")
    fill(found, tmp_path / "out")
    assert report.main([str(tmp_path / "two.yaml"), "--out", str(tmp_path / "out")]) == 0
    rows = list(csv.DictReader((tmp_path / "out/reports/two/together.csv").read_text().splitlines()))
    assert [(row["base (all)_mean_pct"], row["new (all)_mean_pct"]) for row in rows] == [("61.5000", "48.5000")] * 2


def test_results_without_halves_leave_a_line_and_an_empty_cell(experiment, tmp_path):
    found = experiment(TWO_SEEDS)
    for job in protocols.jobs(found):
        finish(job, tmp_path, 55)
    (section,) = summary_of(found, tmp_path).tables
    assert row(section, "MPL")["H (all)"] is None
    reasons = runs_below(found, tmp_path).select("MPL", "digits", "new (all)")["reason"]
    assert {*reasons} == {"the result has no accuracy for this half of the classes"}


def test_prompts_of_single_classes_are_empty_and_not_lacking(experiment, tmp_path):
    found = experiment(TWO_SEEDS + BOUND)
    fill(found, tmp_path)
    (base, *_) = [job for job in protocols.jobs(found) if job.method.label == "CSC"]
    new = base._replace(column="new", folder=base.folder.replace("train_base", "test_new"), training=base, kind="test")
    finish(new, tmp_path, 64.66, class_bound=True)
    runs, _, (section,) = summary_of(found, tmp_path)
    cells = row(section, "CSC")
    assert cells.pop("base") is not None
    assert set(cells.values()) == {None}
    assert notes.missing(runs) == []
    (note,) = notes.class_notes(runs)
    assert note == (
        "These methods have no results on new classes, because their learned parameters belong to the training classes: "
        "CSC."
    )
