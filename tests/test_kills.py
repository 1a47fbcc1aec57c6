"""A training that is killed anywhere goes on to the number that it would have had."""

import pytest

from tests.kills import kills


@pytest.mark.parametrize("number", [2, pytest.param(10, marks=pytest.mark.slow)])
def test_killed_training_ends_with_the_undisturbed_result(number, tmp_path, capsys):
    total, points, faults = kills(tmp_path, number)
    with capsys.disabled():
        print(f"\nkills of a training: in front of changes {points} of {total}")
    assert faults == []
    assert len(points) == number
