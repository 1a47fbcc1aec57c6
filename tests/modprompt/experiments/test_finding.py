"""The sentence that a page opens with is made from the numbers, and says what the seeds do not show."""

import pytest

from modprompt.experiments.reporting import results, table
from modprompt.experiments.reporting.finding import finding
from modprompt.experiments.reporting.intervals import half_width
from modprompt.experiments.reporting.measured import Measured
from tests.modprompt.experiments.test_figure_looks import SEEDS, made


def with_seeds(ours, theirs, protocol="base2new", columns=("base", "new"), clip=10.0):
    """MPL and its only rival, `method 1`, by seed and alike in every column."""
    measured = made(1, 3, protocol, columns, CLIP=clip)
    for label, values in (("MPL", ours), ("method 1", theirs)):
        for column in columns:
            for seed, accuracy in zip(SEEDS, values):
                measured.results.add(label, "imagenet", column, seed, results.Outcome(accuracy, result={}))
    sections = table.sections(measured.experiment, measured.results)
    return Measured(measured.experiment, measured.results, sections, measured.looks)


def test_a_difference_of_every_seed_is_shown():
    measured = with_seeds((81.0, 82.0, 83.0), (80.0, 81.1, 81.9))
    half = half_width([1.0, 0.9, 1.1])
    assert finding(measured) == (
        "MPL has the highest mean H, imagenet: 82.00 ± 0.82%, 1.00 points over the next, method 1; the seeds show it "
        f"(95% t interval of the differences of 3 seeds: {1 - half:+.2f} to {1 + half:+.2f})."
    )


def test_where_the_interval_spans_0_the_seeds_show_no_difference():
    said = finding(with_seeds((81.0, 82.0, 83.0), (84.0, 81.0, 80.0)))
    assert "MPL has the highest mean H, imagenet: 82.00 ± 0.82%, 0.33 points over the next, method 1" in said
    assert "no difference that the seeds show (95% t interval of the differences of 3 seeds: −" in said


def test_equal_differences_tell_no_interval():
    said = finding(with_seeds((82.0, 82.0, 82.0), (81.0, 81.0, 81.0)))
    assert said.endswith("method 1; all seeds differ by the same amount, which gives no interval.")


def test_seeds_that_say_the_other_way_do_not_show_it():
    measured = with_seeds((81.0, 82.0, 83.0), (80.0, 81.1, 81.9))
    (section,) = measured.sections[-1:]
    swapped = {"MPL": "method 1", "method 1": "MPL"}
    rows = tuple(row._replace(label=swapped.get(row.label, row.label)) for row in section.rows)
    sections = [*measured.sections[:-1], section._replace(rows=rows)]
    said = finding(Measured(measured.experiment, measured.results, sections, measured.looks))
    assert said.startswith("method 1 has the highest mean H")
    assert "; seed by seed it is the other way (" in said


def test_equal_means_have_no_first():
    said = finding(with_seeds((81.0, 82.0, 83.0), (82.0, 82.0, 82.0)))
    assert said.startswith("method 1 and MPL have the same highest mean H") or said.startswith("MPL and method 1")


def test_zero_shot_is_the_same_for_every_seed():
    said = finding(with_seeds((60.0, 61.0, 62.0), (1.0, 2.0, 3.0), clip=50.0))
    assert "11.00 points over the next, CLIP; the seeds show it" in said
    assert "of 3 seeds" in said


def test_of_one_seed_no_interval_is_made_up():
    measured = with_seeds((81.0, 82.0, 83.0), (80.0, 81.0, 82.0))
    lines = [line._replace(seeds=(1,)) for line in measured.results.lines]
    alone = results.Results(lines, measured.results.columns, measured.results.datasets)
    for line, dataset, column, seed, outcome in measured.results.all():
        if seed == 1:
            alone.add(line.label, dataset, column, seed, outcome)
    experiment = measured.experiment._replace(seeds=(1,))
    said = finding(Measured(experiment, alone, table.sections(experiment, alone), measured.looks))
    assert said.endswith("fewer than two seeds do not show whether that is more than chance.")


@pytest.mark.parametrize(
    ("protocol", "columns", "what"),
    [("few_shot", ("0", "1", "16"), "mean accuracy with 16 shots, imagenet"), ("base2new", ("base", "new"), "mean H")],
)
def test_the_number_that_decides_is_named(protocol, columns, what):
    assert what in finding(with_seeds((81.0, 82.0, 83.0), (80.0, 81.0, 82.0), protocol, columns))


def test_one_method_alone_is_no_finding():
    measured = made(1, 2)
    measured.results.lines.pop(0)
    sections = table.sections(measured.experiment, measured.results)
    assert finding(Measured(measured.experiment, measured.results, sections, measured.looks)) == ""


def test_seeds_of_logs_are_not_paired():
    measured = with_seeds((81.0, 82.0, 83.0), (80.0, 81.1, 81.9))
    for seed in SEEDS:
        measured.results.add("method 1", "imagenet", "base", seed, results.Outcome(81.0))
    said = finding(measured)
    assert said.endswith("seeds are not paired: numbers from logs, which do not say the images of a seed.")
