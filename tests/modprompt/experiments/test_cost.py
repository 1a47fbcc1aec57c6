"""What methods cost: sums that one can do by hand, empty cells for what results do not say, groups of methods."""

import csv

import pytest

from modprompt.experiments.plan import protocols
from modprompt.experiments.plan.stages import group_of
from modprompt.experiments.reporting import cost, report, tables
from tests.modprompt.experiments.conftest import FILE
from tests.modprompt.experiments.fakes import edit, finish, results_below

DPL = "  DPL: {trainer: DPL, config: glyph, search: {trainer: DPLSearch, config: glyph}, search_seed: 1}\n"


def fill(found, out, **more):
    """Trainings of 10 s and their seed, tests of 1 s of base and 3 s of new classes, a search of 60 s."""
    for job in protocols.jobs(found):
        seconds = {"testing_s": 1.0 if job.column == "base" else 3.0}
        seconds.update({} if job.tests else {"training_s": 60.0 if job.stage else 10.0 + job.seed})
        tested = {"evaluated": "a training"} if job.tests else {}
        facts = {"trained_parameters": 64 * job.method.trains, "device": "cpu", "jobs_at_once": 2}
        finish(job, out, 50 + job.seed, **{**facts, **seconds, **tested, **more})


def costs_of(found, out):
    results = results_below(found, out)
    return {one.label: one for one in cost.costs(found, results, report.tables_of(found, results).sections)}


def test_parameters_and_seconds_by_hand(experiment, tmp_path):
    found = experiment(FILE)
    fill(found, tmp_path)
    of = costs_of(found, tmp_path)
    mpl = of["MPL"]
    assert (mpl.group, mpl.parameters, mpl.device, mpl.jobs) == ("prompts", (64, 64), "cpu", "2")
    assert mpl.training_s == pytest.approx((11.5, 0.5))
    assert mpl.testing_s == pytest.approx((4.0, 0.0))
    assert mpl.accuracy == pytest.approx((51.5, 0.5))
    assert (of["CLIP"].parameters, of["CLIP"].training_s) == ((0, 0), (0.0, None))


def test_a_search_is_shared_by_the_trainings_that_it_serves(experiment, tmp_path):
    from tests.modprompt.experiments.fakes import leave_schedules

    found = experiment(FILE + DPL)
    for job in protocols.jobs(found):
        if job.stage:
            leave_schedules(job, tmp_path)
    fill(found, tmp_path)
    assert costs_of(found, tmp_path)["DPL"].training_s == pytest.approx((41.5, 0.5))


def test_the_most_shots_count_in_whatever_order_and_zero_shot_has_its_own(experiment, tmp_path):
    found = experiment(FILE.replace("base2new", "few_shot\nshots: [16, 4, 1]"))
    for job in protocols.jobs(found):
        seconds = {"testing_s": 1.0, **({} if job.tests else {"training_s": float(job.column)})}
        facts = {"trained_parameters": 64 * job.method.trains, "device": "cpu"}
        finish(job, tmp_path, 50 + float(job.column), **facts, **seconds)
    of = costs_of(found, tmp_path)
    assert (of["MPL"].training_s.mean, of["MPL"].accuracy.mean, of["CLIP"].accuracy.mean) == (16.0, 66.0, 50.0)


def test_a_head_has_the_seconds_of_the_prompts_that_it_stands_behind(experiment, tmp_path):
    found = experiment(FILE + "  Tip on MPL: {trainer: TipAdapterF, config: glyph, prompts_from: MPL}\n")
    fill(found, tmp_path)
    of = costs_of(found, tmp_path)
    assert of["MPL"].training_s == pytest.approx((11.5, 0.5))
    assert of["Tip on MPL"].training_s == pytest.approx((23.0, 1.0))


def test_a_head_has_the_parameters_of_the_prompts_that_it_stands_behind(experiment, tmp_path):
    behind = "  Tip on MPL: {trainer: TipAdapter, config: glyph, prompts_from: MPL}\n"
    named = "  Tip: {trainer: TipAdapter, config: glyph, options: {TRAINER.TIPADAPTER.PROMPTS_FROM: somewhere}}\n"
    found = experiment(FILE + behind + named)
    fill(found, tmp_path)
    for path in tmp_path.rglob("TipAdapter/**/result.json"):
        edit(path, trained_parameters=0)
    of = costs_of(found, tmp_path)
    assert of["Tip on MPL"].parameters == (64, 64)
    assert (of["Tip"].parameters, of["Tip"].training_s) == (None, None)  # nobody knows what its prompts took


def test_what_results_do_not_say_is_empty(experiment, tmp_path):
    found = experiment(FILE)
    fill(found, tmp_path)
    for job in protocols.jobs(found):
        if (job.method.label, job.seed, job.column) == ("MPL", 2, "base"):
            finish(job, tmp_path, 50)
    mpl = costs_of(found, tmp_path)["MPL"]
    assert (mpl.parameters, mpl.training_s, mpl.testing_s) == (None, None, None)
    assert cost.texts([mpl], "H (%)")[1][:4] == ("MPL", "-", "-", "-")


def test_seconds_of_runs_that_shared_a_gpu_are_left_out(experiment, tmp_path):
    found = experiment(FILE)
    fill(found, tmp_path)
    for job in protocols.jobs(found):
        if (job.method.label, job.seed, job.column) == ("MPL", 2, "base"):
            edit(tmp_path / job.folder / "result.json", runs_on_gpu=2)
    of = costs_of(found, tmp_path)
    assert (of["MPL"].training_s, of["MPL"].testing_s, of["MPL"].parameters) == (None, None, (64, 64))
    assert of["CLIP"].testing_s.mean == 4.0
    for path in tmp_path.rglob("result.json"):
        edit(path, runs_on_gpu=2)
    of = costs_of(found, tmp_path)
    assert (of["CLIP"].testing_s, of["MPL"].parameters) == (None, (64, 64))  # the table is still there
    for path in tmp_path.rglob("result.json"):
        edit(path, runs_on_gpu=1)
    assert costs_of(found, tmp_path)["MPL"].training_s.mean == 11.5


def test_old_results_have_no_table(experiment, tmp_path):
    found = experiment(FILE)
    for job in protocols.jobs(found):
        finish(job, tmp_path, 50)
    assert costs_of(found, tmp_path) == {}


@pytest.mark.slow
def test_report_has_table_file_and_figure(experiment, tmp_path, capsys):
    found = experiment(FILE + "  MaPLe: {trainer: MaPLe, config: glyph}\n", "two")
    fill(found, tmp_path / "out")
    assert report.main([str(tmp_path / "two.yaml"), "--out", str(tmp_path / "out")]) == 0
    folder = tmp_path / "out" / "reports" / "two"
    assert "| MPL | 64 | 11.50 ± 0.50 | 4.00 ± 0.00 | cpu | 2 | 51.50 ± 0.50 |" in capsys.readouterr().out
    rows = list(csv.DictReader((folder / "cost.csv").read_text().splitlines()))
    assert [row["method"] for row in rows] == ["CLIP", "MPL", "MaPLe"]
    assert (rows[1]["training_s_mean"], rows[1]["jobs_at_once"], rows[1]["accuracy_of"]) == (
        "11.5000",
        "2",
        "H (%), digits",
    )
    for name in ("cost.png", "cost.pdf"):
        assert (folder / name).stat().st_size > 1000
    assert '<h2 id="cost">cost</h2>' in (folder / "index.html").read_text()


# ------------------------------------------------------------------ groups


@pytest.mark.parametrize(
    ("trainer", "options", "group"),
    [
        ("MPL", {}, "prompts"),
        ("TipAdapterF", {"TRAINER.TIPADAPTER.PROMPTS_FROM": ""}, "heads"),
        ("TipAdapterF", {"TRAINER.TIPADAPTER.PROMPTS_FROM": "output/run"}, "prompts + head"),
        ("ZeroshotCLIP", {}, ""),
        ("Theirs", {}, ""),
    ],
)
def test_group_of_a_method(trainer, options, group):
    assert group_of(trainer, options) == group


@pytest.fixture
def grouped(experiment, tmp_path):
    """Results whose methods are of two groups, the later one first, and their tables."""
    found = experiment(FILE)
    fill(found, tmp_path)
    results = results_below(found, tmp_path)
    head = results.lines[1]._replace(label="Head", group="heads")
    for column in results.columns:
        for seed, outcome in results.outcomes(results.lines[1], "digits", column).items():
            results.add("Head", "digits", column, seed, outcome)
    results.lines.insert(0, head)
    return found, results, report.tables_of(found, results).sections


def test_methods_stand_under_the_headings_of_their_groups(grouped):
    _, _, sections = grouped
    assert [(row.label, row.group) for row in sections[0].rows] == [("CLIP", ""), ("MPL", "prompts"), ("Head", "heads")]
    lines = [line.split(" |")[0] for line in tables.markdown(sections, "t", "a", {}).splitlines()[8:13]]
    assert lines == ["| CLIP", "| **prompts**", "| MPL", "| **heads**", "| Head"]
    assert r"\textbf{heads} &  &  &  \\" in tables.latex(sections, "t", "a")
    head, rows = tables.csv_of(sections)
    assert head[:3] == ["table", "group", "method"]
    assert [row[1:3] for row in rows] == [["", "CLIP"], ["prompts", "MPL"], ["heads", "Head"]]
