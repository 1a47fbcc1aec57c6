"""A report's files, from our results and from other codebases' logs."""

import csv
import json
import re
import sys

import pytest

from modprompt.experiments.plan import file as experiment_file
from modprompt.experiments.plan import protocols
from modprompt.experiments.reporting import report
from tests.modprompt.experiments.fakes import TWO, by_hand, edit, fill, finish
from tests.modprompt.experiments.test_logs import theirs


@pytest.fixture
def two(experiment, tmp_path):
    found = experiment(TWO, "two")
    fill(found, tmp_path / "out", by_hand)
    return [str(tmp_path / "two.yaml"), "--out", str(tmp_path / "out")]


def folder(tmp_path, name="two"):
    return tmp_path / "out" / "reports" / name


MISSING = "Missing results, and results that cannot be averaged"
TABLES = {"index.html", "report.csv", "report.json", "report.md", "report.tex"}


def test_files_are_written_and_printed_and_again_the_same_bytes(two, tmp_path, capsys):
    assert report.main(two) == 0
    text = (folder(tmp_path) / "report.md").read_text()
    assert text in capsys.readouterr().out
    assert "| MPL | **90.00 ± 4.08** | **60.00 ± 4.08** | **72.00 ± 4.25** |" in text
    assert "| *MaPLe, published, H of mean accuracies* | 94.07 | 73.23 | 82.35 |" in text
    assert (
        "- MaPLe, published: MaPLe issue 28, quoting its paper; ViT-B/16, 16 shots, training: 2 prompt tokens" in text
    )
    rows = list(csv.DictReader((folder(tmp_path) / "report.csv").read_text().splitlines()))
    assert [row["table"] for row in rows] == ["eurosat"] * 6 + ["dtd"] * 5 + ["average"] * 3
    assert (float(rows[3]["base_mean_pct"]), rows[0]["base_population_std_pct"]) == (90.0, "")
    assert (rows[0]["seeds"], rows[3]["seeds"], rows[3]["said"]) == ("1", "1 2 3", "")
    figures = {f"{name}.{form}" for name in ("methods", "datasets", "tokens") for form in ("pdf", "png")}
    assert {path.name for path in folder(tmp_path).iterdir()} == {*figures, *TABLES}
    names = {path.name for path in folder(tmp_path).iterdir()} - {report.PAGE}
    assert all(map(report._FILES.fullmatch, names))  # a later report finds them
    latex = (folder(tmp_path) / "report.tex").read_text()
    assert latex.count(r"\begin{tabular}{lccc}") == latex.count(r"\end{table}") == 5  # two are of published methods
    assert r"MPL & \textbf{90.00} {\scriptsize $\pm$ 4.08} &" in latex
    assert not re.search(r"(?<!\\)_", latex)
    first = {path.name: path.read_bytes() for path in folder(tmp_path).iterdir()}
    assert report.main(two) == 0
    assert {path.name: path.read_bytes() for path in folder(tmp_path).iterdir()} == first


def test_without_matplotlib_there_are_tables_and_a_line(two, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert report.main(two) == 0
    out, err = capsys.readouterr()
    assert (
        err
        == "warning: The report has no figures, because matplotlib is missing. Install it with `pip install matplotlib`.\n"
    )
    assert out.endswith("index.html, report.md, report.csv, report.tex, report.json.\n")
    assert {path.name for path in folder(tmp_path).iterdir()} == TABLES
    assert "<img" not in (folder(tmp_path) / "index.html").read_text()


@pytest.mark.usefixtures("unpainted")
def test_what_was_selected_on_test_stands_in_tables_only_where_it_is_asked_for(two, tmp_path, capsys):
    for path in (tmp_path / "out").rglob("MPL/**/result.json"):
        edit(path, selected_on="test")
    assert report.main(two) == 1  # as where runs are missing
    text = (folder(tmp_path) / "report.md").read_text()
    assert "| MPL | - | - | - |" in text
    assert "(selected on test; add --selected-on-test to show the result)." in text
    assert "| MaPLe | **90.00 ± 4.08** |" in text
    assert report.main([*two, "--selected-on-test"]) == 0
    shown = capsys.readouterr().out
    assert "| MPL (selected on test) | 90.00 ± 4.08 | 60.00 ± 4.08 | 72.00 ± 4.25 |" in shown
    assert "MPL: selected on test." in shown
    assert "| MaPLe | **90.00 ± 4.08** |" in shown  # the best of those that can be compared


@pytest.mark.usefixtures("unpainted")
def test_a_row_of_other_seeds_than_the_caption_says_so_and_is_not_the_best(experiment, tmp_path):
    text = TWO.replace("2ctx}", "2ctx, seeds: [1, 2]}").replace("rm1}", "rm1, seeds: [1, 2, 3]}")
    fill(experiment(text, "two"), tmp_path / "out", lambda job: by_hand(job) + (job.method.label == "MaPLe"))
    assert report.main([str(tmp_path / "two.yaml"), "--out", str(tmp_path / "out")]) == 0
    shown = (folder(tmp_path) / "report.md").read_text()
    assert "in percent, as mean ± population standard deviation over seeds 1, 2, 3." in shown
    assert "| CLIP | 85.00 | 55.00 |" in shown  # which draws nothing, whatever the seed
    assert "| MaPLe (seeds 1, 2) | 88.50 ± 2.50 | 58.50 ± 2.50 |" in shown
    assert "| MPL | **90.00 ± 4.08** |" in shown
    assert "<td>MaPLe (seeds 1, 2)</td>" in (folder(tmp_path) / "index.html").read_text()
    rows = json.loads((folder(tmp_path) / "report.json").read_text())["tables"][0]["rows"]
    assert [row.get("seeds") for row in rows if row["method"] in ("MaPLe", "MPL")] == [[1, 2], [1, 2, 3]]


@pytest.mark.usefixtures("unpainted")
def test_a_row_of_other_shots_than_the_others_says_so_and_stands_beside_nothing_published(experiment, tmp_path):
    text = TWO.replace("rm1}", "rm1, options: {DATASET.SHOTS_BY_CLASS: tables/few.csv}}")
    fill(experiment(text, "two"), tmp_path / "out", by_hand)
    assert report.main([str(tmp_path / "two.yaml"), "--out", str(tmp_path / "out")]) == 0
    shown = (folder(tmp_path) / "report.md").read_text()
    assert "| MPL (numbers of shots per class from few.csv) | 90.00 ± 4.08 |" in shown
    assert "published" not in shown


@pytest.mark.usefixtures("unpainted")
def test_numbers_against_unknown_classes_come_into_tables_and_a_file(experiment, tmp_path):
    for job in protocols.jobs(experiment(TWO.replace("methods:", "options: {TEST.OOD: caltech101}\nmethods:"), "two")):
        numbers = {"auroc_pct": 80 + job.seed if job.column == "base" else 1, "fpr95_pct": 41.25}
        scores = {"probability": numbers, "energy": numbers}
        ood = {"of": "caltech101", "images": 9, **scores, "note": "its logits are odd"}
        finish(job, tmp_path / "out", by_hand(job), ood=ood)
    assert report.main([str(tmp_path / "two.yaml"), "--out", str(tmp_path / "out")]) == 0
    shown = (folder(tmp_path) / "report.md").read_text()
    assert "## eurosat: detection of unknown classes" in shown
    assert "MPL: its logits are odd." in shown
    assert "| MPL | **82.00 ± 0.82** | 41.25 ± 0.00 | **82.00 ± 0.82** | 41.25 ± 0.00 |" in shown
    rows = list(csv.DictReader((folder(tmp_path) / "ood.csv").read_text().splitlines()))
    assert {row["method"] for row in rows} == {"CLIP", "MaPLe", "MPL"}


@pytest.mark.usefixtures("unpainted")
def test_missing_runs_end_with_1_and_are_named(two, tmp_path, capsys):
    job = protocols.jobs(experiment_file.read(tmp_path / "two.yaml"))[-1]
    (tmp_path / "out" / job.folder / "result.json").unlink()
    assert report.main(two) == 1
    text = (folder(tmp_path) / "report.md").read_text()
    assert f"{MISSING}:\n\n- MPL has no result on dtd for new seed 3 (waiting)." in text
    assert "| MPL | **70.00 ± 4.08** | - | - |" in text  # the base of dtd is whole


@pytest.mark.usefixtures("unpainted")
def test_files_that_a_report_no_longer_writes_are_deleted_and_other_files_stay(two, tmp_path):
    report.main([*two, "--selected-on-test"])
    (folder(tmp_path) / "mine.txt").write_text("kept")
    assert (folder(tmp_path) / "datasets.png").exists()
    assert report.main([*two, "--datasets", "dtd"]) == 0
    assert not list(folder(tmp_path).glob("datasets.*"))
    assert (folder(tmp_path) / "mine.txt").read_text() == "kept"


@pytest.mark.usefixtures("unpainted")
def test_logs_of_another_codebase_stand_among_ours(two, tmp_path, capsys):
    assert report.main([*two, "--with", f"theirs={theirs(tmp_path / 'maple', finished=False)}"]) == 1
    text = capsys.readouterr().out
    assert "| MaPLe (theirs) | 80.20 ± 0.08 | **70.00 ± 0.00** | **74.75 ± 0.04** |" in text
    assert "- MaPLe (theirs) has no result on dtd for new seed 3 (unfinished; the log is empty)." in text


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["two.yaml", "--with", "nowhere"], "--with: the folder nowhere does not exist."),
        (
            ["two.yaml", "--with", "empty"],
            "--with: empty contains no run of protocol base2new with the data sets and shots of this report. Check",
        ),
        (["empty"], "No run of protocol base2new was found in empty. Each run must have a file log.txt"),
    ],
)
def test_bad_words_end_with_one_line(two, tmp_path, monkeypatch, capsys, words, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    assert report.main(words) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: ")
    assert message in err
    assert err.count("\n") == 1
