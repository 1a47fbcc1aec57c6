"""What methods cost: sums that one can do by hand, empty cells for what results do not say; headings of groups."""

import csv

import pandas as pd
import pytest

from modprompt.experiments.plan import protocols
from modprompt.experiments.reporting import cost, report, tables
from tests.modprompt.experiments.conftest import FILE
from tests.modprompt.experiments.fakes import edit, finish, leave_schedules, summary_of

DPL = "  DPL: {trainer: DPL, config: glyph, search: {trainer: DPLSearch, config: glyph}, search_seed: 1}\n"


def fill(found, out, **more):
    """Trainings of 10 s and their seed, tests of 1 s of base and 3 s of new classes, a search of 60 s."""
    for job in protocols.jobs(found):
        seconds = {"testing_s": 1.0 if job.column == "base" else 3.0}
        seconds.update({} if job.is_test else {"training_s": 60.0 if job.kind == "search" else 10.0 + job.seed})
        tested = {"evaluated": "a training"} if job.is_test else {}
        facts = {"trained_parameters": 64 * job.method.trains, "device": "cpu", "jobs_at_once": 2}
        finish(job, out, 50 + job.seed, **{**facts, **seconds, **tested, **more})


def costs_of(found, out):
    return cost.costs(summary_of(found, out))


def test_parameters_and_seconds_by_hand(experiment, tmp_path):
    found = experiment(FILE)
    fill(found, tmp_path)
    of = costs_of(found, tmp_path)
    mpl, clip = of.loc["MPL"], of.loc["CLIP"]
    assert list(mpl[["group", "parameters_least", "parameters_most", "device", "jobs_at_once"]]) == [
        "prompts", 64, 64, "cpu", "2",
    ]  # fmt: skip
    assert list(mpl[["training_s_mean", "training_s_std"]]) == pytest.approx([11.5, 0.5])
    assert list(mpl[["testing_s_mean", "testing_s_std"]]) == pytest.approx([4.0, 0.0])
    assert list(mpl[["accuracy_mean", "accuracy_std"]]) == pytest.approx([51.5, 0.5])
    assert (clip["parameters_most"], clip["training_s_mean"], pd.isna(clip["training_s_std"])) == (0, 0.0, True)


def test_a_search_is_shared_by_its_trainings_and_a_head_has_the_seconds_of_its_prompts(experiment, tmp_path):
    found = experiment(FILE + DPL + "  Tip on MPL: {trainer: TipAdapterF, config: glyph, prompts_from: MPL}\n")
    for job in protocols.jobs(found):
        if job.kind == "search":
            leave_schedules(job, tmp_path)
    fill(found, tmp_path)
    spent = costs_of(found, tmp_path)[["training_s_mean", "training_s_std"]]
    assert list(spent.loc["DPL"]) == pytest.approx([41.5, 0.5])
    assert list(spent.loc["MPL"]) == pytest.approx([11.5, 0.5])
    assert list(spent.loc["Tip on MPL"]) == pytest.approx([23.0, 1.0])


def test_what_results_do_not_say_is_empty(experiment, tmp_path):
    found = experiment(FILE)
    fill(found, tmp_path)
    for job in protocols.jobs(found):
        if (job.method.label, job.seed, job.column) == ("MPL", 2, "base"):
            finish(job, tmp_path, 50)
    costs = costs_of(found, tmp_path)
    assert costs.loc["MPL", ["parameters_most", "training_s_mean", "testing_s_mean"]].isna().all()
    assert list(cost.texts(costs, "H (%)").iloc[1][:4]) == ["MPL", "-", "-", "-"]


def test_seconds_of_runs_that_shared_a_gpu_are_left_out(experiment, tmp_path):
    found = experiment(FILE)
    fill(found, tmp_path)
    for job in protocols.jobs(found):
        if (job.method.label, job.seed, job.column) == ("MPL", 2, "base"):
            edit(tmp_path / job.folder / "result.json", runs_on_gpu=2)
    of = costs_of(found, tmp_path)
    assert of.loc["MPL", ["training_s_mean", "testing_s_mean"]].isna().all()
    assert (of.at["MPL", "parameters_most"], of.at["CLIP", "testing_s_mean"]) == (64, 4.0)


@pytest.mark.usefixtures("unpainted")
def test_report_has_table_file_and_figure(experiment, tmp_path):
    fill(experiment(FILE + "  MaPLe: {trainer: MaPLe, config: glyph}\n", "two"), tmp_path / "out")
    assert report.main([str(tmp_path / "two.yaml"), "--out", str(tmp_path / "out")]) == 0
    folder = tmp_path / "out" / "reports" / "two"
    assert "| MPL | 64 | 11.50 ± 0.50 | 4.00 ± 0.00 | cpu | 51.50 ± 0.50 |" in (folder / "report.md").read_text()
    rows = {row["method"]: row for row in csv.DictReader((folder / "cost.csv").read_text().splitlines())}
    assert list(rows) == ["CLIP", "MPL", "MaPLe"]
    assert (rows["MPL"]["training_s_mean"], rows["MPL"]["accuracy_of"]) == ("11.5000", "H (%), digits")
    assert (folder / "cost.png").exists()
    assert '<h2 id="cost">Cost</h2>' in (folder / "index.html").read_text()


def test_methods_stand_under_the_headings_of_their_groups(experiment, tmp_path):
    found = experiment(FILE.replace("methods:", "methods:\n  Head: {trainer: TipAdapterF, config: glyph}"))
    fill(found, tmp_path)
    sections = summary_of(found, tmp_path).tables
    lines = [line.split(" |")[0] for line in tables.markdown(sections, "t", "a", {}).splitlines()[8:13]]
    assert lines == ["| CLIP", "| **prompts**", "| MPL", "| **heads**", "| Head"]
    assert r"\textbf{heads} &  &  &  \\" in tables.latex(sections, "t", "a")
    frame = tables.numbers_frame(sections)
    assert list(frame)[:3] == ["table", "group", "method"]
    assert frame[["group", "method"]].to_numpy().tolist() == [["", "CLIP"], ["prompts", "MPL"], ["heads", "Head"]]
