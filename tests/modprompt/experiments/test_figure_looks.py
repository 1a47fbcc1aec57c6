"""Figures for few and many data sets and methods: every bar at its place, no two methods alike, names all there."""

import itertools

import pytest

from modprompt.experiments.reporting import figure_layout, figures, results
from modprompt.experiments.reporting.table import Cell, Row, Section

PLACES = ("imagenet", "caltech101", "oxford_pets", "stanford_cars", "oxford_flowers", "food101", "fgvc_aircraft",
          "sun397", "dtd", "eurosat", "ucf101")  # fmt: skip
MANY = [
    both if both in ((1, 2), (2, 11), (11, 25)) else pytest.param(*both, marks=pytest.mark.slow)
    for both in itertools.product((1, 2, 11), (2, 11, 25))
]


def value(dataset, method, column):
    """An accuracy that no other bar of a panel has."""
    return 40 + dataset + 1.3 * method + 0.011 * column * (method + 1)


def made(experiment, datasets, methods, columns=("base", "new", "H")):
    """Experiment, results and sections of so many data sets and methods; the first is zero-shot, the last is MPL."""
    labels = ["CLIP", *(f"method {number}" for number in range(1, methods - 1)), "MPL"]
    places = [*PLACES[:datasets], *(["average"] if datasets > 1 else [])]

    def cells(number, method):
        if columns[0] == "0":  # of few-shot runs
            shots = [Cell(value(number, method, column), 0.5) for column in range(len(columns))]
            return (shots[0], *[None] * (len(shots) - 1)) if method == 0 else (None, *shots[1:])
        return tuple(Cell(value(number, method, column), 0.5) for column in range(len(columns)))

    sections = [
        Section(place, place, columns, tuple(Row(label, cells(number, at)) for at, label in enumerate(labels)))
        for number, place in enumerate(places)
    ]
    lines = [results.Line(label, label, (1,), trains=label != "CLIP") for label in labels]
    return experiment()._replace(highlight="MPL"), results.Results(lines, columns, PLACES[:datasets]), sections


def bars_of(axes):
    """(method, look, left, right, height) of every bar."""
    for container in axes.containers:
        if hasattr(container, "patches"):
            for bar in container.patches:
                look = (bar.get_facecolor(), bar.get_hatch())
                yield container.get_label(), look, bar.get_x(), bar.get_x() + bar.get_width(), bar.get_height()


@pytest.mark.cover(1)
@pytest.mark.parametrize(("datasets", "methods"), MANY)
def test_every_bar_stands_in_its_group_over_no_other_and_looks_like_no_other(
    experiment, tmp_path, drawn, datasets, methods
):
    found = made(experiment, datasets, methods)
    figures.bars(*found, tmp_path / "bars.png")
    the_methods_differ(drawn["bars.png"])
    _, gathered, sections = found
    labels = [line.label for line in gathered.lines]
    lowest = drawn["bars.png"].axes[-1]  # panels above each other have its names
    assert list(lowest.get_xticks()) == list(range(len(sections)))
    assert [one.get_text() for one in lowest.get_xticklabels()] == [section.key for section in sections]
    for column, axes in enumerate(drawn["bars.png"].axes):
        assert list(axes.get_xticks()) == list(range(len(sections)))
        bars = sorted(bars_of(axes), key=lambda bar: bar[2])
        for (*_, right, _), (_, _, left, *_) in zip(bars, bars[1:]):
            assert right <= left + 1e-9
        for label, _, left, right, height in bars:
            group = round((left + right) / 2)
            assert height == pytest.approx(value(group, labels.index(label), column))
            assert group - 0.5 < left < right < group + 0.5
        inches = (bars[0][3] - bars[0][2]) / len(sections) * axes.get_window_extent().width / axes.figure.dpi
        assert inches > 0.03  # thinner ones cannot be told apart


def the_methods_differ(figure):
    """No two methods of bars look alike, and the legend, above the panels, has them all."""
    looks = {}
    for axes in figure.axes:
        for label, look, *_ in bars_of(axes):
            assert looks.setdefault(label, look) == look
    assert len(set(looks.values())) == len(looks)
    legend = figure.legends[0]
    assert [text.get_text() for text in legend.get_texts()] == list(looks)
    bottom = legend.get_window_extent().y0
    assert all(axes.get_window_extent().y1 <= bottom for axes in figure.axes)
    box = legend.get_window_extent()
    assert 0 <= box.x0 < box.x1 <= figure.bbox.x1


def test_all_looks_differ_in_colour_and_hatch_and_in_colour_and_marker():
    looks = [figure_layout.look(number) for number in range(figure_layout.LOOKS)]
    assert len({(look.colour, look.hatch) for look in looks}) == len(looks)
    assert len({(look.colour, look.marker) for look in looks}) == len(looks)
    for before, behind in zip(looks, looks[1:]):
        assert before.colour != behind.colour


@pytest.mark.slow
def test_a_figure_without_room_for_all_shows_the_best_and_says_so(experiment, tmp_path, drawn):
    caption = figures.bars(*made(experiment, 11, 25), tmp_path / "bars.png")
    shown = [text.get_text() for text in drawn["bars.png"].legends[0].get_texts()]
    assert len(shown) == 12
    assert shown == ["CLIP", *(f"method {number}" for number in range(14, 24)), "MPL"]
    assert "The best 10 of 25 methods by H (average), and MPL, CLIP." in caption
    assert "best" not in figures.bars(*made(experiment, 11, 11), tmp_path / "bars.png")


def test_more_methods_than_looks_are_told_apart_too(experiment):
    _, _, sections = made(experiment, 1, 100)
    looks = figures.chosen(sections, 25).looks
    assert len(looks) == len({(look.colour, look.hatch) for look in looks.values()}) == 25


@pytest.mark.parametrize(("datasets", "methods"), MANY)
def test_gains_are_on_one_scale(experiment, tmp_path, drawn, datasets, methods):
    figures.gains(*made(experiment, datasets, methods), tmp_path / "gains.png")
    base, new, h = drawn["gains.png"].axes
    assert base.get_xlim() == new.get_xlim() == h.get_xlim()
    for axes in (base, new, h):
        right = axes.get_window_extent().x1
        assert all(text.get_window_extent().x1 <= right + 2 for text in axes.texts)


@pytest.mark.cover(1)
@pytest.mark.parametrize(("datasets", "methods"), MANY)
def test_curves_differ_in_colour_and_marker(experiment, tmp_path, drawn, datasets, methods):
    found = made(experiment, datasets, methods, ("0", "1", "4", "16"))
    caption = figures.curves(*found, tmp_path / "curves.png")
    axes = [one for one in drawn["curves.png"].axes if one.get_title()]
    assert [one.get_title() for one in axes] == [section.key for section in found[2]]
    looks = {one.get_label(): (one.lines[0].get_color(), one.lines[0].get_marker()) for one in axes[0].containers}
    assert len(set(looks.values())) == len(looks) == min(methods, 12) - 1
    assert ("The best 10 of 25" in caption) == (methods > 12)


def test_every_method_has_its_row_of_tokens_and_no_tokens_are_0(experiment, tmp_path, drawn):
    labels = ["IVLP", "MPL", "VPT"]
    lines = [results.Line(label, label, (1,)) for label in labels]
    gathered = results.Results(lines, ("base",), ("dtd",))
    for label in labels:
        schedules = {"text": "[[0, 2], [2, 0]]" if label == "VPT" else "[[0, 4], [4, 2]]", "vision": "[[0, 1], [1, 3]]"}
        gathered.add(label, "dtd", "base", 1, results.Outcome(50.0, "", {"schedules": schedules}))
    assert "best" not in figures.tokens(gathered, [], tmp_path / "tokens.png")
    text, vision = drawn["tokens.png"].axes
    assert [one.get_text() for one in text.get_yticklabels()] == labels
    assert text.images[0].get_array().tolist() == [[4, 2], [4, 2], [2, 0]]
    assert [one.get_text() for one in text.texts] == ["4", "2", "4", "2", "2", "0"]
    assert vision.images[0].get_array().tolist() == [[1, 3]] * 3


def test_long_names_are_cut_in_the_middle_unless_two_would_be_one():
    long, other = "a" * 40, "b" * 30 + "c"
    assert figure_layout.names([long, "MPL"]) == {long: "a" * 14 + "…" + "a" * 14, "MPL": "MPL"}
    two = ["a" * 20 + "x" + "a" * 20, "a" * 20 + "y" + "a" * 20]
    assert figure_layout.names(two) == {name: name for name in two}
    assert len(figure_layout.names([other])[other]) <= 30


def test_a_figure_is_a_picture_and_a_pdf_of_a_paper_s_width_and_of_the_same_bytes_again(tmp_path):
    from PIL import Image

    def draw():
        with figure_layout.panels(tmp_path / "a.png", ["a"], width=figure_layout.COLUMN_IN, high=1.8) as (axes,):
            axes.plot([0, 1], [0, 1])
        return (tmp_path / "a.pdf").read_bytes()

    first = draw()
    assert first.startswith(b"%PDF")
    assert f"/MediaBox [ 0 0 {72 * figure_layout.COLUMN_IN:g} 144 ]".encode() in first
    assert b"/Type3" not in first
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.size[0] == 220 * figure_layout.COLUMN_IN
    assert draw() == first
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.pdf", "a.png"]
