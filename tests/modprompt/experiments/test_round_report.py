"""The report of protocol active: numbers by hand, nothing averaged over what is not there, files and figures."""

import csv
import math

import pytest

from modprompt.experiments.plan import protocols
from modprompt.experiments.plan.experiment import FEW_SHOT_RUNS
from modprompt.experiments.reporting import notes, report, rounds
from tests.modprompt.experiments.fake_rounds import fill_rounds, finish_rounds
from tests.modprompt.experiments.fakes import best, row, runs_below, tables_of
from tests.modprompt.experiments.test_figures import assert_not_empty
from tests.modprompt.experiments.test_rounds import ROUNDS

FILE = (
    ROUNDS.replace("seeds: [1]", "seeds: [1, 2]")
    .replace("rounds: 2", "rounds: 3")
    .replace("config: glyph}", "config: glyph, seeds: [1]}")
)
TWO = FILE.replace("[digits]", "[digits, mnist5k]")
BASE2NEW = FILE + "base2new: true\n"


def by_hand(job):
    """Rounds of 40, 60 and 70 percent and a little more for each seed; shots of 50, 60 and 70; zero-shot 30."""
    if job.method.acquisition == FEW_SHOT_RUNS:
        return 40.0 + 10 * int(job.column.split()[0]) - (20 if "new" in job.column else 0)
    if job.method.acquisition == "":
        return 30.0 if "new" not in job.column else 20.0
    return [base + 2 * job.seed + (5 if "pcb" in job.method.acquisition else 0) for base in (40.0, 60.0, 70.0)]


@pytest.mark.parametrize(
    ("labels", "accuracy", "expected"),
    [
        ([10, 20, 30], [40, 60, 70], (50 + 65) / 2),
        ([10, 20, 40], [40, 60, 70], (50 * 10 + 65 * 20) / 30),
        ([10, 10, 20], [0, 50, 70], 60),  # a round that asked for nothing
        ([], [], math.nan),
        ([10, 10], [50, 60], math.nan),
        ([10, 20], [50, math.nan], math.nan),
    ],
)
def test_area_is_the_trapezoids_over_the_range(labels, accuracy, expected):
    assert rounds.area_pct(labels, accuracy) == pytest.approx(expected, nan_ok=True)


def test_last_round_area_and_balance_by_hand(experiment, tmp_path):
    found = experiment(FILE)
    fill_rounds(found, tmp_path, by_hand)
    sections, gathered = tables_of(found, tmp_path)
    (section,) = sections.values()
    assert section.columns == ("accuracy", "area", "labels", "classes", "balance")
    assert list(section.rows["label"]) == ["CLIP", "MPL random", "MPL badge+pcb", "MPL few-shot"]
    random = row(section, "MPL random")
    assert random["accuracy"] == pytest.approx((73.0, 1.0))
    assert random["area"] == pytest.approx((57.5 + 3, 1.0))
    assert random["labels"] == (30.0, 0.0)
    assert random["classes"] == pytest.approx((90.0, 0.0))
    assert random["balance"] == pytest.approx((90.0, 0.0))
    few_shot = row(section, "MPL few-shot")
    assert (few_shot["accuracy"].mean, few_shot["area"].mean, few_shot["labels"].mean) == (70.0, 60.0, 30.0)
    assert few_shot["classes"] is few_shot["balance"] is None
    assert row(section, "CLIP") == {"accuracy": (30.0, None), **dict.fromkeys(section.columns[1:])}
    assert best(section) == {(2, 0), (2, 1)}
    assert section.about == ("Number of test images: 1,000. Split: drawn by modprompt.")
    assert section.details == ()
    assert notes.warnings(gathered) == []


def test_base_to_new_has_both_and_their_harmonic_mean(experiment, tmp_path):
    found = experiment(BASE2NEW)
    new = [20.0, 30.0, 45.0]
    fill_rounds(found, tmp_path, lambda job: by_hand(job) if not isinstance(by_hand(job), list) else None)
    for job in protocols.jobs(found):
        if job.column == "accuracy":
            finish_rounds(job, tmp_path, [40.0, 60.0, 90.0], new_accuracy_pct=new)
    (section,) = tables_of(found, tmp_path)[0].values()
    assert section.columns[:4] == ("base", "new", "H", "area")
    random = row(section, "MPL random")
    assert (random["base"].mean, random["new"].mean, random["H"].mean) == pytest.approx((90.0, 45.0, 60.0))
    assert (row(section, "CLIP")["base"].mean, row(section, "CLIP")["new"].mean) == (30.0, 20.0)
    assert (row(section, "MPL few-shot")["base"].mean, row(section, "MPL few-shot")["new"].mean) == (70.0, 50.0)


def test_nothing_is_averaged_over_a_seed_that_has_not_finished(experiment, tmp_path):
    found = experiment(TWO)
    gone = {("MPL random", "digits", 2), ("MPL few-shot", "digits", 1)}
    fill_rounds(
        found, tmp_path, lambda job: None if (job.method.label, job.dataset, job.seed) in gone else by_hand(job)
    )
    sections, gathered = tables_of(found, tmp_path)
    for label in ("MPL random", "MPL few-shot"):
        for key in ("digits", "average"):
            assert row(sections[key], label)["accuracy"] is row(sections[key], label)["area"] is None
        assert row(sections["mnist5k"], label)["accuracy"] is not None
    assert notes.missing(gathered) == [
        "MPL random has no result on digits for seed 2 (waiting).",
        "MPL few-shot has no result on digits for 1 shot seed 1, 2 shots seed 1, 3 shots seed 1 (waiting).",
    ]


@pytest.mark.usefixtures("unpainted")
def test_runs_without_test_images_have_all_but_an_accuracy(experiment, tmp_path, capsys):
    found = experiment(FILE + "few_shot: false\n", "untested")
    fill_rounds(found, tmp_path / "out", lambda job: [None] * 3 if job.method.acquisition == "random" else by_hand(job))
    (section,) = tables_of(found, tmp_path / "out")[0].values()
    random = row(section, "MPL random")
    assert random["accuracy"] is random["area"] is None
    assert (random["labels"].mean, random["classes"].mean) == pytest.approx((30.0, 90.0))
    assert report.main([str(tmp_path / "untested.yaml"), "--out", str(tmp_path / "out")]) == 0
    text = capsys.readouterr().out
    why = "there are no test images, and the run has no accuracy."
    assert f"Runs without test images:\n\n- MPL random on digits, seeds 1, 2: {why}\n" in text
    assert "Missing results, and results that cannot be averaged" not in text
    assert "index.html, report.md, report.csv, report.tex, report.json, rounds.csv and figures" in text
    assert "| MPL random | - | - | 30.00 ± 0.00 | 90.00 ± 0.00 | 90.00 ± 0.00 |" in text


def test_free_labels_and_time_are_told(experiment, tmp_path):
    found = experiment(FILE)
    fill_rounds(found, tmp_path, by_hand)
    for job in protocols.jobs(found):
        if job.method.acquisition == "random":
            finish_rounds(job, tmp_path, by_hand(job), free=[0, 3, 4], labels=[10, 17, 23], wrong_free=[0, 1, 2])
    sections, gathered = tables_of(found, tmp_path)
    said = "MPL random, digits: models gave 14 labels in 2 runs, 4 of them wrong"
    assert rounds.free_labels(rounds.frame_of_rounds(gathered)) == [said]
    area = row(sections["digits"], "MPL random")["area"].mean
    assert area == pytest.approx(3 + (50 * 7 + 65 * 6) / 13)
    finish_rounds(job := protocols.jobs(found)[1], tmp_path, by_hand(job), free=[0, 1, 1], wrong_free=[None] * 3)
    (free,) = rounds.free_labels(rounds.frame_of_rounds(runs_below(found, tmp_path)))
    assert ", an unknown number of them wrong" in free


@pytest.mark.slow
def test_files_of_a_report(experiment, tmp_path):
    fill_rounds(experiment(TWO, "two"), tmp_path / "out", by_hand)
    words, files = [str(tmp_path / "two.yaml"), "--out", str(tmp_path / "out")], tmp_path / "out/reports/two"
    assert report.main(words) == 0
    figures = {f"{name}.{form}" for name in ("rounds", "covered", "balance") for form in ("pdf", "png")}
    reports = {f"report.{form}" for form in ("csv", "json", "md", "tex")}
    assert {path.name for path in files.iterdir()} == {*figures, *reports, "index.html", "rounds.csv"}
    for name in ("rounds", "covered", "balance"):
        assert_not_empty(files / f"{name}.png")
    first = {path.name: path.read_bytes() for path in files.iterdir()}
    report.main(words)
    assert {path.name: path.read_bytes() for path in files.iterdir()} == first
    rows = list(csv.DictReader((files / "rounds.csv").read_text().splitlines()))
    assert len(rows) == 2 * 2 * (2 * 3 + 3)
    one = next(row for row in rows if (row["acquisition"], row["seed"], row["round"]) == ("badge+pcb", "2", "1"))
    assert (one["dataset"], one["method"], one["labels"], one["accuracy_pct"]) == ("digits", "MPL", "20", "69.0")
    assert (one["classes_covered"], one["classes"], one["picks_hash"]) == ("7", "10", "picks1")
    few_shot = [[row["labels"], row["accuracy_pct"]] for row in rows if row["acquisition"] == "few-shot"]
    assert few_shot[:6:2] == few_shot[1:6:2] == [["10", "50.0"], ["20", "60.0"], ["30", "70.0"]]  # of two seeds
    table = list(csv.DictReader((files / "report.csv").read_text().splitlines()))
    assert [row["table"] for row in table] == ["digits"] * 4 + ["mnist5k"] * 4 + ["average"] * 4
    latex = (files / "report.tex").read_text()
    assert latex.count(r"\begin{tabular}{lccccc}") == 3
    page = (files / "index.html").read_text()
    assert page.count("data:image/png;base64,") == 3
    assert page.count("<table>") == 4


def test_log_files_of_others_are_refused(experiment, tmp_path, capsys):
    experiment(FILE, "one")
    assert report.main([str(tmp_path / "one.yaml"), "--out", str(tmp_path), "--with", f"x={tmp_path}"]) == 2
    assert "--with: output folders of other codebases are not supported with protocol active" in capsys.readouterr().err
