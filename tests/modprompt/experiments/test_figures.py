"""What figures show, for few and many data sets and methods: the tables' numbers and order, and a look for each method."""

import itertools

import numpy as np
import pytest
from PIL import Image

from modprompt.experiments.plan.experiment import Experiment
from modprompt.experiments.reporting import cost, figures, report, results
from modprompt.experiments.reporting.compare import interval
from modprompt.experiments.reporting.recorded import Recorded
from modprompt.experiments.reporting.tables import Cell

PLACES = ("imagenet", "caltech101", "oxford_pets", "stanford_cars", "oxford_flowers", "food101", "fgvc_aircraft",
          "sun397", "dtd", "eurosat", "ucf101")  # fmt: skip
SEEDS = (1, 2, 3)


def measured_of(experiment, gathered):
    numbers, sections, _ = report.tables_of(experiment, gathered)
    return figures.Measured(experiment, gathered, numbers, sections, figures.looks([(experiment, gathered)]))


def made(datasets, methods, protocol="base2new", columns=("base", "new")):
    """Results of so many data sets and methods, each run with an accuracy of its own; the first is zero-shot, the last
    is MPL."""
    labels = ["CLIP", *(f"method {number}" for number in range(1, methods - 1)), "MPL"]
    places = PLACES[:datasets]
    source = places[0] if protocol == "cross_dataset" else ""
    experiment = Experiment("x", "X", protocol, places[len(source) > 0 :], source, (16,), SEEDS, (), "MPL", "")
    lines = [results.Line(one, one, SEEDS if one != "CLIP" else (1,), trains=one != "CLIP") for one in labels]
    gathered = results.Results(lines, columns, places)
    for (place, dataset), (method, line), (at, column) in itertools.product(
        enumerate(places), enumerate(lines), enumerate(columns)
    ):
        for seed in line.seeds if gathered.is_asked(line, column) else ():
            accuracy = 40 + place + 0.3 * method + (0.01 * at + 0.1 * seed) * (method > 0)
            gathered.add(line.label, dataset, column, seed, results.Outcome(accuracy, result={}))
    return measured_of(experiment, gathered)


def rows_of(axes):
    return [text.get_text() for text in axes.get_yticklabels()]


def drawn_as(axes, kind):
    return [line for line in axes.lines if line.get_gid() == kind]


@pytest.mark.parametrize(("datasets", "methods"), [(1, 2), (2, 12), (11, 38)])
def test_dots_have_the_tables_order_and_numbers(tmp_path, drawn, datasets, methods):
    measured = made(datasets, methods)
    assert figures.methods(measured, tmp_path / "methods.png").startswith(measured.sections[-1].title)
    panels, place = drawn["methods.png"].axes, measured.sections[-1].key
    assert [axes.get_title() for axes in panels] == ["base", "new", "H"]
    assert rows_of(panels[0]) == measured.labels == [row.label for row in measured.sections[-1].rows]
    for axes in panels:
        means, seeds, lines = (drawn_as(axes, kind) for kind in ("mean", "seeds", "interval"))
        assert len(seeds) == len(lines) == methods - 1  # zero-shot CLIP has one seed
        for row, label in enumerate(measured.labels):
            cell = measured.numbers.cell(label, place, axes.get_title())
            assert means[row].get_xydata().tolist() == [[pytest.approx(cell.mean), row]]
        of_seeds = list(measured.numbers.of_seeds("MPL", place, axes.get_title()).values())
        assert list(seeds[-1].get_xdata()) == of_seeds
        assert list(lines[-1].get_xdata()) == pytest.approx(interval(of_seeds))


def test_many_methods_beside_many_data_sets_are_the_best_and_that_is_said(tmp_path, drawn):
    said = figures.datasets(made(11, 38), tmp_path / "datasets.png")
    assert said.endswith(" 12 of 38 methods: those with the best H (average over 11 data sets).")
    assert [axes.get_title() for axes in drawn["datasets.png"].axes if axes.axison] == list(PLACES)
    assert rows_of(drawn["datasets.png"].axes[0]) == ["CLIP", *(f"method {n}" for n in range(27, 37)), "MPL"]
    assert figures.datasets(made(1, 4), tmp_path / "one.png") == ""


def test_across_data_sets_there_are_the_source_and_the_average_of_the_targets(tmp_path, drawn):
    measured = made(3, 4, "cross_dataset", ("accuracy",))
    figures.methods(measured, tmp_path / "methods.png")
    assert [axes.get_title() for axes in drawn["methods.png"].axes] == ["imagenet", "average"]
    figures.datasets(measured, tmp_path / "datasets.png")
    assert [axes.get_title() for axes in drawn["datasets.png"].axes] == ["caltech101", "oxford_pets"]


def test_no_two_methods_look_alike_and_one_looks_the_same_on_a_whole_page():
    one, other = made(1, 57), made(2, 4)
    looks = figures.looks([(part.experiment, part.results) for part in (other, one)])
    assert looks["MPL"]["color"] == figures.COLOURS[0]
    assert len({tuple(own.values()) for own in looks.values()}) == len(looks) == 57
    assert [own["color"] for own in looks.values()].count(figures.COLOURS[0]) == 1


def test_curves_are_over_several_numbers_of_shots_with_zero_shot_as_a_line(tmp_path, drawn):
    measured = made(2, 4, "few_shot", ("0", "1", "4"))
    assert figures.shots(measured, tmp_path / "curves.png").startswith("Accuracy over the number of shots")
    axes = drawn["curves.png"].axes[0]
    assert [one.get_title() for one in drawn["curves.png"].axes if one.axison] == ["imagenet", "caltech101", "average"]
    (level,) = [line for line in axes.lines if line.get_label() == "CLIP"]
    assert set(level.get_ydata()) == {40.0}
    points = next(one for one in axes.containers if one.get_label() == "MPL").lines[0]
    means = [measured.numbers.cell("MPL", "imagenet", shots).mean for shots in ("1", "4")]
    assert points.get_xydata().tolist() == [[1, means[0]], [4, means[1]]]
    assert figures.shots(made(2, 4, "few_shot", ("0", "16")), tmp_path / "one.png") == ""  # no curve of one point


def test_costs_are_points_and_what_trains_nothing_a_line(tmp_path, drawn, monkeypatch):
    measured = made(2, 4)
    cells = {label: own[-1] for label, own in measured.sections[-1].measured().items()}
    spent = [
        cost.Cost(label, "", (1000 * n, 1000 * n), Cell(10.0 * n), None, "", "", cell)
        for n, (label, cell) in enumerate(cells.items())
    ]
    monkeypatch.setattr(cost, "costs", lambda *_: spent)
    assert figures.costs(measured, tmp_path / "cost.png").startswith("H (%), average over 2 data sets, over seconds")
    seconds, parameters = drawn["cost.png"].axes
    of = {one.get_label(): one.lines[0].get_xydata().tolist()[0] for one in seconds.containers}
    assert of == {label: [10.0 * n, cells[label].mean] for n, label in enumerate(cells) if n}
    assert {"CLIP"} <= {line.get_label() for line in parameters.lines}
    monkeypatch.setattr(cost, "costs", lambda *_: spent[:2])
    assert figures.costs(measured, tmp_path / "none.png") == ""


def test_carried_and_new_tokens_are_told_apart(tmp_path, drawn):
    schedules = {
        "CoOp": {"text": "[[0, 4], [0, 0]]", "vision": "[[0, 0], [0, 0]]"},
        "MPL": {"text": "[[0, 1], [1, 1]]", "vision": "[[0, 5], [1, 2]]"},
        "Tip": {"text": "[[0, 0], [0, 0]]", "vision": "[[0, 0], [0, 0]]"},
        "Edited": {"text": "[[", "vision": "[]"},
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
