"""Experiments know who trains, and ask in one place."""

import pytest

from modprompt.experiments.plan.kinds import trains
from tests.conftest import ROOT


@pytest.mark.parametrize(
    ("trainer", "expected"),
    [("ZeroshotCLIP", False), ("ZeroshotCLIP2", False), ("MPL", True), ("SomebodysOwn", True)],
)
def test_who_trains(trainer, expected):
    assert trains(trainer) is expected


def test_no_other_file_of_experiments_goes_by_names():
    files = [path for path in (ROOT / "modprompt/experiments").rglob("*.py") if path.name != "kinds.py"]
    told = {path.name for path in files if "Zeroshot" in path.read_text()}
    assert told <= {"spec.py"}  # the example in its docstring
