"""The figure of the method shows the schedules that run."""

from pathlib import Path

import pytest
from PIL import Image

from modprompt.engine.schedule import Schedule, modular, shallow
from tools import method_figure

SCHEDULES = [
    *(schedule for _, schedule in method_figure.PANELS),
    modular(5, depth=4, first=3, remove=2, add=3),
    shallow(4, 2),
    Schedule([(0, 2), (1, 0), (1, 3), (0, 0)]),
]


@pytest.mark.parametrize("schedule", SCHEDULES, ids=str)
def test_tokens_of_each_layer_are_those_of_the_schedule(schedule):
    lives = method_figure.lives(schedule)
    for layer, (step, count) in enumerate(zip(schedule, schedule.counts)):
        there = [life for life in lives if life.first <= layer <= life.last]
        assert sorted(life.place for life in there) == list(range(count))
        assert sum(life.first == layer for life in there) == step.add
        assert sum(life.is_removed and life.last == layer - 1 for life in lives) == step.remove


def test_squares_do_not_overlap_and_none_is_outside():
    for axes in method_figure.figure().axes:
        boxes = [patch.get_extents().transformed(axes.transData.inverted()) for patch in axes.patches]
        places = {(round(box.x0 + box.width / 2), round(box.y0 + box.height / 2)) for box in boxes}
        assert len(places) == len(boxes)
        assert all(box.width < 1 and box.height < 1 for box in boxes)
        (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
        assert all(left <= box.x0 and box.x1 <= right and bottom <= box.y0 and box.y1 <= top for box in boxes)


def test_file_is_written_and_a_folder_that_is_not_there_is_one_line(tmp_path, capsys):
    assert method_figure.main(["--to", str(tmp_path / "m.png")]) == 0
    with Image.open(tmp_path / "m.png") as drawn, Image.open(method_figure.DEFAULT) as shown:
        assert drawn.size == shown.size
    capsys.readouterr()
    for name in ("none/m.png", "m.none"):
        assert method_figure.main(["--to", str(tmp_path / name)]) == 2
        err = capsys.readouterr().err
        assert (err[:7], err.count("\n")) == ("error: ", 1)
    assert [path.name for path in Path(tmp_path).iterdir()] == ["m.png"]
