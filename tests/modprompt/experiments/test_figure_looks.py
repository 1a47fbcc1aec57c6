"""Figures for few and many data sets and methods: sorted, on axes that no outlier sets, no two methods alike."""

import itertools
import re
from collections import defaultdict

import numpy as np
import pytest
from matplotlib.text import Text

from modprompt.experiments.plan.experiment import Experiment
from modprompt.experiments.reporting import results, table
from modprompt.experiments.reporting.figures import cost, dots, layout, outliers, shots, tokens
from modprompt.experiments.reporting.intervals import half_width
from modprompt.experiments.reporting.measured import Measured, looks_of

PLACES = ("imagenet", "caltech101", "oxford_pets", "stanford_cars", "oxford_flowers", "food101", "fgvc_aircraft",
          "sun397", "dtd", "eurosat", "ucf101")  # fmt: skip
SEEDS = (1, 2, 3)
MANY = [
    both if both in ((1, 2), (2, 12), (11, 38)) else pytest.param(*both, marks=pytest.mark.slow)
    for both in itertools.product((1, 2, 11), (2, 12, 38))
]


def value(dataset, method, column, seed):
    """An accuracy that no other run has; zero-shot CLIP, method 0, draws nothing."""
    return 40 + dataset + 0.3 * method + (0.01 * column + 0.1 * seed) * (method > 0)


def made(datasets, methods, protocol="base2new", columns=("base", "new"), **accuracies):
    """Results of so many data sets and methods; the first is zero-shot, the last is MPL; `accuracies` are other ones
    of methods, in every run."""
    labels = ["CLIP", *(f"method {number}" for number in range(1, methods - 1)), "MPL"]
    places = PLACES[:datasets]
    source = places[0] if protocol == "cross_dataset" else ""
    experiment = Experiment("x", "X", protocol, places[len(source) > 0 :], source, (16,), SEEDS, (), "MPL", "", {})
    lines = [results.Line(one, one, SEEDS if one != "CLIP" else (1,), trains=one != "CLIP") for one in labels]
    gathered = results.Results(lines, columns, places)
    for (number, dataset), (method, line), (at, column) in itertools.product(
        enumerate(places), enumerate(lines), enumerate(columns)
    ):
        for seed in line.seeds if gathered.is_asked(line, column) else ():
            accuracy = accuracies.get(line.label, value(number, method, at, seed))
            gathered.add(line.label, dataset, column, seed, results.Outcome(accuracy, result={}))
    return Measured(experiment, gathered, table.sections(experiment, gathered), looks_of([(experiment, gathered)]))


def rows_of(axes):
    return [text.get_text() for text in axes.get_yticklabels()]


def kinds(axes):
    """What is drawn, by its kind."""
    found = defaultdict(list)
    for line in axes.lines:
        found[line.get_gid()].append(line)
    return found


@pytest.mark.cover(1)
@pytest.mark.parametrize(("datasets", "methods"), MANY)
def test_methods_are_sorted_by_h_with_seeds_and_intervals_over_zero_shot(tmp_path, drawn, datasets, methods):
    measured = made(datasets, methods)
    caption = dots.methods(measured, tmp_path / "methods.png")
    assert caption.startswith("Methods sorted by H")
    panels = drawn["methods.png"].axes
    zero = measured.sections[-1].measured()["CLIP"]
    assert [axes.get_title() for axes in panels] == [
        f"{column} (CLIP {cell.mean:.2f})" for column, cell in zip(("base", "new", "H"), zero)
    ]
    labels = ["MPL", *(f"method {number}" for number in range(methods - 2, 0, -1))]
    assert rows_of(panels[0]) == labels  # CLIP is the line at 0
    for column, axes in enumerate(panels):
        found = kinds(axes)
        for row, label in enumerate(labels):
            cell = measured.sections[-1].measured()[label][column]
            (at,), (height,) = found["mean"][row].get_xydata().T
            assert (at, height) == (pytest.approx(cell.mean - zero[column].mean), row)
            seeds = measured.by_seed(label, measured.sections[-1].key, ("base", "new", "H")[column])
            assert len(seeds) == 3
            assert list(found["seeds"][row].get_xdata()) == pytest.approx([one - zero[column].mean for one in seeds])
            left, right = found["interval"][row].get_xdata()
            assert (right - left) / 2 == pytest.approx(half_width(seeds))
            assert (right + left) / 2 == pytest.approx(np.mean(seeds) - zero[column].mean)
    heights = [text.get_window_extent().height for text in panels[0].get_yticklabels()]
    apart = panels[0].get_window_extent().height / len(labels)
    assert apart > 0.9 * max(heights)  # no name on another


def test_the_interval_is_student_s_t():
    assert half_width([1.0, 2.0, 3.0]) == pytest.approx(4.30265 / np.sqrt(3), rel=1e-5)  # t(0.975, 2) in any table
    assert half_width([1.0]) is None


def test_an_outlier_is_an_arrow_with_its_value_and_does_not_set_the_axis(tmp_path, drawn):
    dots.methods(made(2, 12, **{"method 3": 10.0}), tmp_path / "methods.png")
    base = drawn["methods.png"].axes[0]
    found = kinds(base)
    (arrow,) = found["outlier"]
    low, high = base.get_xlim()
    assert high - low < 10
    assert arrow.get_xdata()[0] == low
    row = rows_of(base).index("method 3")
    assert arrow.get_ydata()[0] == row
    assert [text.get_text() for text in base.texts] == [f"−{40.5 - 10:.1f}"]
    assert len(found["mean"]) == 10


def test_an_interval_and_seeds_beyond_the_axis_end_in_arrows(tmp_path, drawn):
    measured = made(1, 4)
    for seed, accuracy in zip(SEEDS, (20.0, 41.0, 62.0)):
        measured.results.add("method 2", PLACES[0], "base", seed, results.Outcome(accuracy, result={}))
    sections = table.sections(measured.experiment, measured.results)
    dots.methods(Measured(measured.experiment, measured.results, sections, measured.looks), tmp_path / "methods.png")
    base = drawn["methods.png"].axes[0]
    arrows = {tuple(line.get_xydata()[0]) for line in kinds(base)["beyond"]}
    row = rows_of(base).index("method 2")
    below = kinds(base)["seeds"][row].get_ydata()[0]
    assert arrows == {(end, at) for end in base.get_xlim() for at in (row, below)}


def test_without_zero_shot_the_axis_is_accuracy(tmp_path, drawn):
    measured = made(1, 4)
    measured.results.lines.pop(0)
    sections = table.sections(measured.experiment, measured.results)
    dots.methods(Measured(measured.experiment, measured.results, sections, measured.looks), tmp_path / "methods.png")
    figure = drawn["methods.png"]
    assert figure.get_supxlabel().startswith("accuracy (%)")
    assert figure.axes[0].get_title() == "base"
    assert kinds(figure.axes[0])["mean"][0].get_xdata()[0] == pytest.approx(40 + 0.3 * 3 + 0.2)


def without(measured, label, dataset, column):
    """The same, in which runs of a method lack."""
    for seed in next(line for line in measured.results.lines if line.label == label).seeds:
        measured.results.add(label, dataset, column, seed, results.Outcome(None, "waiting"))
    sections = table.sections(measured.experiment, measured.results)
    return Measured(measured.experiment, measured.results, sections, measured.looks)


def test_where_zero_shot_lacks_a_number_the_whole_figure_is_in_percent_with_it_in_a_row(tmp_path, drawn):
    dots.methods(without(made(1, 4), "CLIP", "imagenet", "new"), tmp_path / "methods.png")
    figure = drawn["methods.png"]
    assert figure.get_supxlabel().startswith("accuracy (%)")
    assert [axes.get_title() for axes in figure.axes] == ["base", "new", "H"]
    assert rows_of(figure.axes[0])[-1] == "CLIP"
    assert kinds(figure.axes[0])["mean"][-1].get_xdata()[0] == pytest.approx(40)
    assert len(kinds(figure.axes[1])["mean"]) == 3


def test_panels_and_rows_without_a_number_are_not_there(tmp_path, drawn):
    measured = without(made(1, 4), "method 1", "imagenet", "base")
    measured = without(measured, "method 1", "imagenet", "new")
    for label in measured.labels:
        measured = without(measured, label, "imagenet", "new")
    dots.methods(measured, tmp_path / "methods.png")
    (axes,) = drawn["methods.png"].axes
    assert axes.get_title() == "base (CLIP 40.00)"
    assert sorted(rows_of(axes)) == ["MPL", "method 2"]


def test_more_methods_than_rows_are_the_best_and_that_is_said(tmp_path, drawn):
    measured = made(11, 38)
    caption = dots.datasets(measured, tmp_path / "datasets.png")
    assert "The best 10 of 38 methods by H (average over 11 data sets), and MPL, CLIP." in caption
    panels = [axes for axes in drawn["datasets.png"].axes if axes.axison]
    assert [axes.get_title().partition(" ")[0] for axes in panels] == list(PLACES)
    assert rows_of(panels[0]) == ["MPL", *(f"method {number}" for number in range(36, 26, -1))]


def test_one_data_set_has_no_panels_of_data_sets_and_no_gains(tmp_path, drawn):
    measured = made(1, 12)
    assert (dots.datasets(measured, tmp_path / "d.png"), dots.gains(measured, tmp_path / "g.png")) == ("", "")
    assert drawn == {}


@pytest.mark.parametrize("datasets", [2, 11])
def test_gains_are_sorted_with_the_best_rival_beside_and_the_average_last(tmp_path, drawn, datasets):
    measured = made(datasets, 12)
    caption = dots.gains(measured, tmp_path / "gains.png")
    assert caption.startswith("What MPL and method 10, the best of the others, gain over CLIP (zero-shot)")
    figure = drawn["gains.png"]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["MPL", "method 10"]
    for axes in figure.axes:
        means = kinds(axes)["mean"]
        ours, theirs = means[::2], means[1::2]
        gains = [line.get_xdata()[0] for line in ours][:-1]
        assert gains == sorted(gains, reverse=True)
        assert rows_of(axes)[-1] == "average"
        assert {line.get_color() for line in ours} == {layout.COLOURS[0]}
        assert len({line.get_color() for line in theirs}) == 1
        assert len(kinds(axes)["seeds"]) == 2 * (datasets + 1)


def test_across_data_sets_source_and_targets_stand_apart(tmp_path, drawn):
    measured = made(3, 4, "cross_dataset", ("accuracy",))
    dots.methods(measured, tmp_path / "methods.png")
    titles = [axes.get_title().partition(" (")[0] for axes in drawn["methods.png"].axes]
    assert titles == ["imagenet", "average"]
    dots.datasets(measured, tmp_path / "datasets.png")
    titles = [axes.get_title().partition(" (")[0] for axes in drawn["datasets.png"].axes]
    assert titles == ["caltech101", "oxford_pets"]
    one = made(2, 4, "cross_dataset", ("accuracy",))
    assert dots.datasets(one, tmp_path / "one.png") == ""
    dots.gains(one, tmp_path / "one.png")
    assert rows_of(drawn["one.png"].axes[0]) == ["imagenet", "caltech101"]  # the average of one target is that target


def test_no_two_looks_are_alike_and_the_first_has_its_colour_alone():
    looks = [layout.look(number) for number in range(layout.LOOKS)]
    assert layout.LOOKS >= 38
    assert len({(look.colour, look.marker) for look in looks}) == len(looks)
    assert [look.colour for look in looks].count(layout.COLOURS[0]) == 1
    for before, behind in zip(looks, looks[1:]):
        assert before.colour != behind.colour
        assert before.marker != behind.marker


def test_a_method_looks_the_same_in_every_part_of_a_page():
    one, other = made(1, 12), made(2, 4)
    together = looks_of([(part.experiment, part.results) for part in (one, other)])
    assert together["MPL"].colour == layout.COLOURS[0]
    assert together["CLIP"].colour == layout.ZERO_SHOT
    assert len({(look.colour, look.marker) for look in together.values()}) == 12
    assert set(other.labels) < set(together)


def test_limits_leave_out_what_is_far_from_the_median_and_nothing_else():
    low, high = outliers.limits([1.0, 1.5, 2.0, -50.0])
    assert -1 < low < 1
    assert 2 < high < 3
    assert outliers.limits([3.0])[0] < 3 < outliers.limits([3.0])[1]
    low, high = outliers.limits([0.0, 10.0])
    assert low < 0
    assert high > 10


@pytest.mark.cover(1)
@pytest.mark.parametrize(("datasets", "methods"), MANY)
def test_curves_differ_in_colour_and_marker(tmp_path, drawn, datasets, methods):
    measured = made(datasets, methods, "few_shot", ("0", "1", "4", "16"))
    caption = shots.curves(measured, tmp_path / "curves.png")
    axes = [one for one in drawn["curves.png"].axes if one.get_title()]
    assert [one.get_title() for one in axes] == [section.key for section in measured.sections]
    looks = {one.get_label(): (one.lines[0].get_color(), one.lines[0].get_marker()) for one in axes[0].containers}
    assert len(set(looks.values())) == len(looks) == min(methods, 8) - 1
    assert (f"The best 6 of {methods}" in caption) == (methods > 8)


def test_a_curve_that_falls_out_of_the_axis_has_triangles_with_its_values(tmp_path, drawn):
    shots.curves(made(1, 8, "few_shot", ("0", "1", "4"), **{"method 2": 5.0}), tmp_path / "curves.png")
    (axes,) = drawn["curves.png"].axes
    assert axes.get_ylim()[0] > 20
    assert [line.get_xdata()[0] for line in kinds(axes)["outlier"]] == [1, 4]
    assert [text.get_text() for text in axes.texts] == ["5.0", "5.0"]


def test_carried_and_new_tokens_are_told_apart(tmp_path, drawn):
    schedules = {
        "CoOp": {"text": "[[0, 4], [0, 0]]", "vision": "[[0, 0], [0, 0]]"},
        "MaPLe": {"text": "[[0, 4], [4, 4]]", "vision": "[[0, 4], [4, 4]]"},
        "MPL": {"text": "[[0, 1], [1, 1]]", "vision": "[[0, 5], [1, 2]]"},
        "Tip": {"text": "[[0, 0], [0, 0]]", "vision": "[[0, 0], [0, 0]]"},
    }
    gathered = results.Results([results.Line(one, one, (1,)) for one in schedules], ("base",), ("dtd",))
    for label, own in schedules.items():
        gathered.add(label, "dtd", "base", 1, results.Outcome(50.0, "", {"schedules": own}))
    assert "best" not in tokens.tokens(gathered, [], tmp_path / "tokens.png", strong="MPL")
    text, vision = drawn["tokens.png"].axes
    assert (rows_of(text), rows_of(vision)) == (["CoOp", "MaPLe", "MPL"], ["MaPLe", "MPL"])
    assert [one.get_text() for one in text.texts] == ["+4", "4", "+4", "+4", "+1", "+1"]
    assert [one.get_text() for one in vision.texts] == ["+4", "+4", "+5", "4+2"]
    assert (text.get_xlabel(), vision.get_xlabel()) == ("text layer (from 0)", "vision layer (from 0)")
    assert [one.get_text() for one in vision.get_xticklabels()] == ["0", "1"]
    colours = {True: tokens.CARRIED, False: tokens.NEW}
    last = [bar for bar in vision.patches if bar.get_y() > 0.5 and bar.get_x() > 0.5]
    assert [bar.get_width() for bar in last] == pytest.approx([0.92 * 4 / 6, 0.92 * 2 / 6])
    from matplotlib.colors import to_rgba

    assert [bar.get_facecolor() for bar in last] == [to_rgba(colours[True]), to_rgba(colours[False])]
    assert [label.get_text() for label in drawn["tokens.png"].legends[0].get_texts()] == ["carried", "new"]


def named_costs(measured, monkeypatch):
    """Costs of the methods, beside each other."""

    def costs(experiment, gathered, sections):
        cells = {label: own[-1] for label, own in sections[-1].measured().items()}
        return [
            cost.Cost(label, "", (1000 * n, 1000 * n), table.Cell(10.0 * n), None, "", "", cell)
            for n, (label, cell) in enumerate(cells.items())
        ]

    monkeypatch.setattr(cost, "costs", costs)


@pytest.mark.cover(1)
@pytest.mark.parametrize(("datasets", "methods"), MANY)
def test_costs_have_names_at_their_points_that_do_not_hide_each_other(tmp_path, drawn, monkeypatch, datasets, methods):
    measured = made(datasets, methods)
    named_costs(measured, monkeypatch)
    caption = cost.accuracy_over_cost(measured, tmp_path / "cost.png")
    if methods == 2:
        assert caption == ""
        return
    for axes in drawn["cost.png"].axes:
        names = {re.sub(r" [\d.]+ ↓$", "", text.get_text()): text for text in axes.texts}  # CLIP may lie below all
        assert set(names) == set(measured.chosen(12, ["MPL", "CLIP"]).looks)
        assert names["MPL"].get_fontweight() == "bold"
        boxes = [Text.get_window_extent(text) for text in names.values()]  # without the lines to the points
        assert not any(one.overlaps(other) for one, other in itertools.combinations(boxes, 2))


def test_an_outlier_does_not_set_the_axis_of_costs(tmp_path, drawn, monkeypatch):
    measured = made(2, 12, **{"method 5": 3.0})
    named_costs(measured, monkeypatch)
    cost.accuracy_over_cost(measured, tmp_path / "cost.png")
    axes = drawn["cost.png"].axes[0]
    assert axes.get_ylim()[0] > 20
    assert "method 5 3.0" in [text.get_text() for text in axes.texts]


def test_a_training_that_takes_far_longer_does_not_set_the_axis_either(tmp_path, drawn, monkeypatch):
    measured = made(2, 12)
    named_costs(measured, monkeypatch)
    costs = cost.costs

    def with_one_longer(*given):
        return [one._replace(training_s=table.Cell(90_000.0)) if one.label == "MPL" else one for one in costs(*given)]

    monkeypatch.setattr(cost, "costs", with_one_longer)
    cost.accuracy_over_cost(measured, tmp_path / "cost.png")
    seconds, parameters = drawn["cost.png"].axes
    (arrow,) = kinds(seconds)["outlier"]
    assert arrow.get_xdata()[0] == seconds.get_xlim()[1] < 1000
    assert "MPL 90k" in [text.get_text() for text in seconds.texts]
    assert "outlier" not in kinds(parameters)


def test_a_long_whisker_is_cut_with_an_arrow(tmp_path, drawn, monkeypatch):
    measured = made(2, 12)
    named_costs(measured, monkeypatch)
    costs = cost.costs

    def with_one_unsure(*given):
        return [
            one._replace(accuracy=one.accuracy._replace(std=30.0)) if one.label == "MPL" else one
            for one in costs(*given)
        ]

    monkeypatch.setattr(cost, "costs", with_one_unsure)
    cost.accuracy_over_cost(measured, tmp_path / "cost.png")
    axes = drawn["cost.png"].axes[0]
    low, high = axes.get_ylim()
    assert high - low < 30
    assert sorted(line.get_ydata()[0] for line in kinds(axes)["beyond"]) == [low, high]


def test_long_names_are_cut_in_the_middle_unless_two_would_be_one():
    long, other = "a" * 40, "b" * 30 + "c"
    assert layout.names([long, "MPL"]) == {long: "a" * 14 + "…" + "a" * 14, "MPL": "MPL"}
    two = ["a" * 20 + "x" + "a" * 20, "a" * 20 + "y" + "a" * 20]
    assert layout.names(two) == {name: name for name in two}
    assert len(layout.names([other])[other]) <= 30


def test_a_figure_is_a_picture_and_a_pdf_of_a_paper_s_width_and_of_the_same_bytes_again(tmp_path):
    from PIL import Image

    def draw():
        with layout.panels(tmp_path / "a.png", ["a"], width=layout.COLUMN_IN, high=1.8) as (axes,):
            axes.plot([0, 1], [0, 1])
        return (tmp_path / "a.pdf").read_bytes()

    first = draw()
    assert first.startswith(b"%PDF")
    assert f"/MediaBox [ 0 0 {72 * layout.COLUMN_IN:g} 144 ]".encode() in first
    assert b"/Type3" not in first
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.size[0] == 220 * layout.COLUMN_IN
    assert draw() == first
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.pdf", "a.png"]
