"""A figure of each kind is written and is not empty; its numbers are the tables'."""

import itertools

import numpy as np
import pytest
from PIL import Image

from modprompt.experiments.plan.experiment import Experiment
from modprompt.experiments.reporting import cost, figures, report
from modprompt.experiments.reporting.compare import interval
from modprompt.experiments.reporting.recorded import StoredTests
from modprompt.experiments.reporting.runs import Runs
from modprompt.io.figures import WIDTH, panels, short_name
from tests.modprompt.experiments.fakes import edit, finish, runs_below

PLACES = ("imagenet", "caltech101")
SEEDS = (1, 2, 3)
SCHEDULE = "[[0, 5], [1, 2]]"
RUN = {
    "training_s": 9.0,
    "testing_s": 1.0,
    "trained_parameters": 64,
    "schedules": {"text": SCHEDULE, "vision": SCHEDULE},
}


def made(methods, protocol="base2new", columns=("base", "new")):
    """Results of two data sets and so many methods, each run with an accuracy of its own; the first is zero-shot, the last
    is MPL."""
    labels = ["CLIP", *(f"method {number}" for number in range(1, methods - 1)), "MPL"]
    experiment = Experiment("x", "X", protocol, PLACES, "", (16,), SEEDS, (), "MPL", "")
    methods_ = [
        {"label": one, "family": one, "seeds": SEEDS if one != "CLIP" else (1,), "trains": one != "CLIP"}
        for one in labels
    ]
    rows = []
    for (place, dataset), (method, label), (at, column), seed in itertools.product(
        enumerate(PLACES), enumerate(labels), enumerate(columns), SEEDS
    ):
        accuracy = 40 + place + 0.3 * method + (0.01 * at + 0.1 * seed) * (method > 0)
        one = {"method": label, "dataset": dataset, "column": column, "seed": seed, "reason": ""}
        rows.append({**one, "accuracy_pct": accuracy, "result": {**RUN, "seed": seed}})
    summary, _ = report.summarize(Runs(experiment, methods_, rows, columns, PLACES))
    return summary, figures.looks_of([summary.runs])


KINDS = [
    ("methods", "base2new", ("base", "new")),
    ("datasets", "base2new", ("base", "new")),
    ("shots", "few_shot", ("0", "1", "4")),
    ("costs", "base2new", ("base", "new")),
    ("tokens", "base2new", ("base", "new")),
]


@pytest.mark.parametrize(("kind", "protocol", "columns"), KINDS)
def test_a_figure_of_each_kind_is_written_and_is_not_empty(kind, protocol, columns, tmp_path):
    summary, looks = made(4, protocol, columns)
    words = {"tokens": (summary,), "costs": (summary, cost.costs(summary), looks)}.get(kind, (summary, looks))
    assert getattr(figures, kind)(*words, tmp_path / "a.png")
    assert_not_empty(tmp_path / "a.png")


def assert_not_empty(path):
    with Image.open(path) as picture:
        assert (np.asarray(picture.convert("L")) < 128).sum() > 1000
    assert path.with_suffix(".pdf").read_bytes().startswith(b"%PDF")


def test_there_is_no_curve_of_one_point(tmp_path):
    assert figures.shots(*made(4, "few_shot", ("0", "16")), tmp_path / "one.png") == ""


def test_dots_have_the_tables_order_and_numbers(tmp_path, drawn):
    summary, looks = made(12)
    figures.methods(summary, looks, tmp_path / "methods.png")
    panels, place = drawn["methods.png"].axes, summary.tables[-1].place
    assert [axes.get_title() for axes in panels] == ["base", "new", "H"]
    assert [text.get_text() for text in panels[0].get_yticklabels()] == summary.labels
    for axes in panels:
        means, seeds, lines = (
            [line for line in axes.lines if line.get_gid() == kind] for kind in ("mean", "seeds", "interval")
        )
        assert len(seeds) == len(lines) == 11  # zero-shot CLIP has one seed
        for row, label in enumerate(summary.labels):
            mean = summary.means.mean.at[label, (place, axes.get_title())]
            assert means[row].get_xydata().tolist() == [[pytest.approx(mean), row]]
        of_seeds = list(summary.means.of_seeds("MPL", (place, axes.get_title())).values())
        assert list(seeds[-1].get_xdata()) == of_seeds
        assert list(lines[-1].get_xdata()) == pytest.approx(interval(of_seeds))


def test_confusion_is_in_percent_of_a_class_and_of_those_that_are_mixed_up(drawn, tmp_path):
    images = np.eye(30, dtype=int) * 8
    images[29, 3] = 2
    test = StoredTests(tuple(f"class {number}" for number in range(30)), images, [], {})
    caption = figures.confusions("MPL", "digits", {"new": test}, tmp_path / "c.png")
    axes = drawn["c.png"].axes[0]
    shown = [text.get_text() for text in axes.get_yticklabels()]
    assert len(shown) == 20
    assert axes.images[0].get_array()[shown.index("class 29"), shown.index("class 3")] == pytest.approx(20.0)
    assert "20 of 30 (new)" in caption


@pytest.mark.slow
def test_a_figure_is_a_picture_and_a_pdf_of_the_same_bytes_again(tmp_path):
    def draw():
        with panels(tmp_path / "a.png", ["_a $b$", "b" * 200]) as grid:
            grid[0].plot([0, 1], [0, 1], label="_x")
        return (tmp_path / "a.pdf").read_bytes()

    first = draw()
    assert first.startswith(b"%PDF")
    assert b"/Type3" not in first
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.size[0] == 220 * WIDTH
    assert draw() == first
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.pdf", "a.png"]
    assert short_name("a" * 40) == "a" * 14 + "…" + "a" * 14


def test_schedules_that_are_no_schedules_are_left_out(jobs, tmp_path, experiment):
    """Never a traceback, and nothing is executed."""
    path = finish(jobs[4], tmp_path / "out", 80.0)
    for text in ("(" * 5000, "-" * 200_000 + "1", "[[0, 1], 2]", "{}", "[[0, 'a']]", "None", "lambda: 1"):
        edit(path, schedules={"text": text, "vision": text})
        assert figures.token_counts(runs_below(experiment(), tmp_path / "out")) == {}
