import numpy as np
import pytest

from modprompt.methods.search import figure as search_figure
from modprompt.methods.search.file import SideOfSearch
from modprompt.methods.search.space import ALL, best_path, margins, options, steps_of


def searched(layers, choices, epochs, seed=0):
    """A side whose alphas wander from epoch to epoch."""
    draws = np.random.default_rng(seed).normal(size=(epochs + 1, layers, len(choices))).cumsum(axis=0)
    there, last = [choices] * layers, draws[-1].tolist()
    path = best_path(last, there)
    tables = tuple(tuple(map(tuple, epoch)) for epoch in draws.tolist())
    steps = tuple(steps_of(path, there))
    return SideOfSearch("behind_start", steps, margins(last, path), tuple(map(tuple, there)), tables)


@pytest.fixture
def drawn(monkeypatch):
    """Figures that were not written."""
    kept = []
    monkeypatch.setattr(search_figure, "save_figure", lambda figure, path: kept.append(figure))
    return kept


LENGTHS = [(ALL, tokens) for tokens in range(5)]


def test_picture_is_written_whole(tmp_path):
    side = searched(3, LENGTHS, 4)
    assert search_figure.draw(str(tmp_path / "search.png"), {"text": side, "vision": side})
    assert [path.name for path in tmp_path.iterdir()] == ["search.png"]
    assert (tmp_path / "search.png").read_bytes().startswith(b"\x89PNG")


def test_without_matplotlib_nothing_is_drawn(tmp_path, monkeypatch):
    monkeypatch.setattr(search_figure, "can_draw", lambda: False)
    assert not search_figure.draw(tmp_path / "search.png", {"text": searched(3, LENGTHS, 4)})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("layers", "choices"), [(3, LENGTHS), (12, options(3, True, 3)), (7, options(1, False, 1))])
def test_every_layer_has_its_options_its_choice_and_its_tokens(drawn, tmp_path, layers, choices):
    side = searched(layers, choices, 6)
    search_figure.draw(tmp_path / "a.png", {"vision": side})
    (figure,) = drawn
    *panels, bars = figure.axes
    assert [axes.get_title() for axes in panels] == [
        f"layer {layer}: -{remove} +{add}" for layer, (remove, add) in enumerate(side.steps)
    ]
    assert {len(axes.collections) for axes in panels} == {len(choices) + 1}  # an area each, and the frame
    assert [text.get_text() for text in bars.texts] == [f"{margin:+.2f}" for margin in side.margins]
    heights = np.array([bar.get_height() for bar in bars.patches]).reshape(3, layers)
    assert heights[1].tolist() == [add for _, add in side.steps]
    assert heights[2].tolist() == [-remove for remove, _ in side.steps]
    assert (heights[0] >= 0).all()


def test_frame_is_around_the_chosen_option(drawn, tmp_path):
    alphas = (((0.0, 0.0, 0.0),), ((0.0, np.log(2.0), np.log(5.0)),))
    side = SideOfSearch("", ((0, 1),), (-0.375,), (((0, 0), (0, 1), (1, 1)),), alphas)
    search_figure.draw(tmp_path / "a.png", {"text": side})
    *areas, frame = drawn[0].axes[0].collections
    at_end = frame.get_paths()[0].vertices
    assert sorted({round(float(y), 4) for x, y in at_end if x == 1}) == [0.125, 0.375]


def test_side_that_was_not_searched_has_its_tokens_alone(drawn, tmp_path):
    search_figure.draw(tmp_path / "a.png", {"text": SideOfSearch("", ((0, 2), (2, 1)))})
    (bars,) = drawn[0].axes
    assert [bar.get_height() for bar in bars.patches] == [0, 0, 2, 1, 0, -2]
    assert not bars.texts
