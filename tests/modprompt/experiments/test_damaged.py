"""What a result names and nobody has written so is left out of a figure: never a traceback, and nothing is executed."""

from modprompt.experiments.reporting.figures import token_counts
from tests.modprompt.experiments.conftest import FILE
from tests.modprompt.experiments.fakes import edit, finish, results_below


def test_schedules_that_are_no_schedules_are_left_out_of_the_figure(jobs, tmp_path, experiment):
    path = finish(jobs[4], tmp_path / "out", 80.0)
    for text in ("(" * 5000, "-" * 200_000 + "1", "[[0, 1], 2]", "{}", "[[0, 'a']]", "None", "lambda: 1"):
        edit(path, schedules={"text": text, "vision": text})
        assert token_counts(results_below(experiment(FILE), tmp_path / "out")) == {}
