"""What figures show, for few and many data sets and methods: the tables' numbers and order, and a look for each method."""

import itertools

import numpy as np
import pytest
from PIL import Image

from modprompt.experiments.plan.experiment import Experiment
from modprompt.experiments.reporting import figures, report, results
from modprompt.experiments.reporting.compare import interval
from modprompt.experiments.reporting.recorded import Recorded
from tests.modprompt.experiments.fakes import edit, finish, results_below

PLACES = ("imagenet", "caltech101")
SEEDS = (1, 2, 3)


def measured_of(experiment, gathered):
    numbers, sections, _ = report.tables_of(experiment, gathered)
    return figures.Measured(experiment, gathered, numbers, sections, figures.looks([(experiment, gathered)]))


def made(methods, protocol="base2new", columns=("base", "new")):
    """Results of two data sets and so many methods, each run with an accuracy of its own; the first is zero-shot, the last
    is MPL."""
    labels = ["CLIP", *(f"method {number}" for number in range(1, methods - 1)), "MPL"]
    experiment = Experiment("x", "X", protocol, PLACES, "", (16,), SEEDS, (), "MPL", "")
    lines = [results.Line(one, one, SEEDS if one != "CLIP" else (1,), trains=one != "CLIP") for one in labels]
    gathered = results.Results(lines, columns, PLACES)
    for (place, dataset), (method, line), (at, column) in itertools.product(
        enumerate(PLACES), enumerate(lines), enumerate(columns)
    ):
        for seed in line.seeds if gathered.is_asked(line, column) else ():
            accuracy = 40 + place + 0.3 * method + (0.01 * at + 0.1 * seed) * (method > 0)
            gathered.add(line.label, dataset, column, seed, results.Outcome(accuracy, result={}))
    return measured_of(experiment, gathered)


def rows_of(axes):
    return [text.get_text() for text in axes.get_yticklabels()]


def drawn_as(axes, kind):
    return [line for line in axes.lines if line.get_gid() == kind]


def test_dots_have_the_tables_order_and_numbers(tmp_path, drawn):
    measured = made(12)
    assert figures.methods(measured, tmp_path / "methods.png").startswith(measured.sections[-1].title)
    panels, place = drawn["methods.png"].axes, measured.sections[-1].key
    assert [axes.get_title() for axes in panels] == ["base", "new", "H"]
    assert rows_of(panels[0]) == measured.labels == [row.label for row in measured.sections[-1].rows]
    for axes in panels:
        means, seeds, lines = (drawn_as(axes, kind) for kind in ("mean", "seeds", "interval"))
        assert len(seeds) == len(lines) == 11  # zero-shot CLIP has one seed
        for row, label in enumerate(measured.labels):
            cell = measured.numbers.cell(label, place, axes.get_title())
            assert means[row].get_xydata().tolist() == [[pytest.approx(cell.mean), row]]
        of_seeds = list(measured.numbers.of_seeds("MPL", place, axes.get_title()).values())
        assert list(seeds[-1].get_xdata()) == of_seeds
        assert list(lines[-1].get_xdata()) == pytest.approx(interval(of_seeds))


def test_curves_are_over_several_numbers_of_shots_with_zero_shot_as_a_line(tmp_path, drawn):
    measured = made(4, "few_shot", ("0", "1", "4"))
    assert figures.shots(measured, tmp_path / "curves.png").startswith("Accuracy over the number of shots")
    axes = drawn["curves.png"].axes[0]
    assert [one.get_title() for one in drawn["curves.png"].axes if one.axison] == ["imagenet", "caltech101", "average"]
    (level,) = [line for line in axes.lines if line.get_label() == "CLIP"]
    assert set(level.get_ydata()) == {40.0}
    points = next(one for one in axes.containers if one.get_label() == "MPL").lines[0]
    means = [measured.numbers.cell("MPL", "imagenet", shots).mean for shots in ("1", "4")]
    assert points.get_xydata().tolist() == [[1, means[0]], [4, means[1]]]
    assert figures.shots(made(4, "few_shot", ("0", "16")), tmp_path / "one.png") == ""  # no curve of one point


def test_carried_and_new_tokens_are_told_apart(tmp_path, drawn):
    schedules = {
        "CoOp": {"text": "[[0, 4], [0, 0]]", "vision": "[[0, 0], [0, 0]]"},
        "MPL": {"text": "[[0, 1], [1, 1]]", "vision": "[[0, 5], [1, 2]]"},
        "Tip": {"text": "[[0, 0], [0, 0]]", "vision": "[[0, 0], [0, 0]]"},
    }
    lines = [results.Line(one, one, (1,)) for one in schedules]
    gathered = results.Results(lines, ("base", "new"), ("dtd",))
    for label, own in schedules.items():
        gathered.add(label, "dtd", "base", 1, results.Outcome(50.0, "", {"schedules": own}))
    experiment = Experiment("x", "X", "base2new", ("dtd",), "", (16,), (1,), (), "MPL", "")
    assert figures.tokens(measured_of(experiment, gathered), tmp_path / "tokens.png")
    text, vision = drawn["tokens.png"].axes
    assert (rows_of(text), rows_of(vision)) == (["CoOp", "MPL"], ["MPL"])
    assert [one.get_text() for one in text.texts] == ["+4", "4", "+1", "+1"]
    assert [one.get_text() for one in vision.texts] == ["+5", "4+2"]
    widths = [bar.get_width() for bar in vision.patches if bar.get_x() > 0.5]
    assert widths == pytest.approx([0.92 * 4 / 6, 0.92 * 2 / 6])


def left_of(confusion):
    """What a test has left of so many classes."""
    return Recorded(tuple(f"class {number}" for number in range(len(confusion))), np.array(confusion), [], {})


def test_confusion_is_in_percent_of_a_class_and_of_those_that_are_mixed_up(drawn, tmp_path):
    images = np.eye(30, dtype=int) * 8
    images[29, 3] = 2
    caption = figures.confusions({"new": {"MPL": left_of(images)}, "base": {}}, tmp_path / "c.png")
    axes = drawn["c.png"].axes[0]
    shown = rows_of(axes)
    assert len(shown) == 20
    assert {"class 3", "class 29"} <= set(shown)
    values = axes.images[0].get_array()
    assert values[shown.index("class 29"), shown.index("class 3")] == pytest.approx(20.0)
    assert "20 of 30 (new)" in caption


def test_a_figure_is_a_picture_and_a_pdf_of_the_same_bytes_again(tmp_path):
    def draw():
        with figures.panels(tmp_path / "a.png", ["_a $b$", "b" * 200]) as grid:
            grid[0].plot([0, 1], [0, 1], label="_x")
        return (tmp_path / "a.pdf").read_bytes()

    first = draw()
    assert first.startswith(b"%PDF")
    assert b"/Type3" not in first
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.size[0] == 220 * figures.WIDTH
    assert draw() == first
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.pdf", "a.png"]
    assert figures.name_of("a" * 40) == "a" * 14 + "…" + "a" * 14


def test_schedules_that_are_no_schedules_are_left_out(jobs, tmp_path, experiment):
    """Never a traceback, and nothing is executed."""
    path = finish(jobs[4], tmp_path / "out", 80.0)
    for text in ("(" * 5000, "-" * 200_000 + "1", "[[0, 1], 2]", "{}", "[[0, 'a']]", "None", "lambda: 1"):
        edit(path, schedules={"text": text, "vision": text})
        assert figures.token_counts(results_below(experiment(), tmp_path / "out")) == {}
