"""What the figures say, told by what is handed to them."""

import numpy as np
import pytest

from modprompt.experiments.reporting import table
from modprompt.experiments.reporting.figures import field, layout, shots, tokens
from modprompt.experiments.reporting.figures.grid import heat_maps
from modprompt.experiments.reporting.measured import Measured, looks_of
from tests.modprompt.experiments.fakes import results_below
from tests.modprompt.experiments.test_table import TWO, by_hand, fill


def gather(found, out):
    gathered = results_below(found, out)
    return Measured(found, gathered, table.sections(found, gathered), looks_of([(found, gathered)]))


def test_curves_have_zero_shot_as_a_level_line(experiment, tmp_path, drawn):
    found = experiment(TWO.replace("base2new", "few_shot\nshots: [1, 4]"))
    fill(found, tmp_path, lambda job: 50.0 + int(job.column))
    shots.curves(gather(found, tmp_path), tmp_path / "curves.png")
    axes = [axes for axes in drawn["curves.png"].axes if axes.get_title()]
    assert [one.get_title() for one in axes] == ["eurosat", "dtd", "average"]
    lines = {line.get_label(): line for line in axes[0].lines if line.get_label() == "CLIP"}
    assert list(lines["CLIP"].get_ydata()) == [50.0, 50.0]
    points = next(container for container in axes[0].containers if container.get_label() == "MPL")
    assert list(points.lines[0].get_xdata()) == [1, 4]
    assert list(points.lines[0].get_ydata()) == [51.0, 54.0]


def test_heat_map_has_every_point_of_the_grid_and_leaves_unfinished_ones_empty(experiment, tmp_path, drawn):
    grid = "    grid: {TRAINER.MPL.N_ADD_OP: [1, 3], TRAINER.MPL.N_RM_OP: [0, 1]}\n"
    found = experiment(TWO.split("  MaPLe")[0] + "  MPL:\n    trainer: MPL\n    config: vit_b4_c1_add2_rm1\n" + grid)

    def accuracy(job):
        point = dict(job.method.point)
        if point == {"TRAINER.MPL.N_ADD_OP": "3", "TRAINER.MPL.N_RM_OP": "1"}:
            return None
        return 50.0 + 10 * int(point.get("TRAINER.MPL.N_ADD_OP", 0)) + int(point.get("TRAINER.MPL.N_RM_OP", 0))

    fill(found, tmp_path, accuracy)
    family, keys = next(iter(found.grids.items()))
    heat_maps(family, keys, gather(found, tmp_path), tmp_path / "a.png")
    axes = drawn["a.png"].axes[0]
    values = axes.images[0].get_array()
    assert values[0].tolist() == pytest.approx([60.0, 61.0])
    assert values[1, 0] == pytest.approx(80.0)
    assert bool(values.mask[1, 1]) if hasattr(values, "mask") else values[1, 1] != values[1, 1]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("N_RM_OP", "N_ADD_OP")
    assert sorted(text.get_text() for text in axes.texts) == ["60.00", "61.00", "80.00"]


def test_tokens_are_those_of_the_recorded_schedules(experiment, tmp_path):
    found = experiment(TWO)
    fill(found, tmp_path, by_hand)
    gathered = gather(found, tmp_path).results
    layers = {"text": ((0, 1), (0, 1), (1, 0)), "vision": ((0, 1), (0, 2), (2, 0))}  # carried and new
    assert tokens.token_counts(gathered) == {"MPL": [layers]}


def test_numbers_of_a_map_are_read_where_all_are_equal(tmp_path, drawn):
    with layout.panels(tmp_path / "a.png", [""]) as (axes,):
        field.field(axes, np.array([[80.0, 80.0], [80.0, np.nan]]), 80, 81, "{:.0f}".format, 7, "viridis")
    assert [one.get_color() for one in axes.texts] == ["w"] * 3  # on the darkest colour
