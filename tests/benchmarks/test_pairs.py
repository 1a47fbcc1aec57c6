"""Both sides of a row: what is put beside each other, what has no number, and whether what is asked for holds."""

import pytest

from benchmarks import pairs


@pytest.fixture
def sides(monkeypatch):
    """What each side says, by its checkout; the cases that were asked for."""
    said, asked = {}, []

    def measured(module, case, most_s):
        asked.append(case)
        return said[case[2]]

    monkeypatch.setattr(pairs, "in_a_process", measured)
    return said, asked


def test_a_row_has_medians_and_peaks_of_both_sides_in_turn(sides):
    said, asked = sides
    said.update({"": {"seconds": [2.0, 1.0, 9.0], "peak": 1.5}, "dir": {"seconds": [4.0], "peak": 2.0}})
    text, holds = pairs.row("benchmarks.taught", ("DePT", 5, "dir", 4, 2), 2)
    assert text == "| DePT | 5 | 2.00 s, 1.50 GiB | 4.00 s, 2.00 GiB | 0.50 | 0.75 |"
    assert holds
    assert asked == [("DePT", 5, "", 4, 2), ("DePT", 5, "dir", 4, 2)] * 2


@pytest.mark.parametrize(
    ("mine", "theirs", "holds"),
    [
        ({"seconds": [4.1], "peak": 1.0}, {"seconds": [4.0], "peak": 2.0}, False),  # slower
        ({"seconds": [1.0], "peak": 2.1}, {"seconds": [4.0], "peak": 2.0}, False),  # larger
        ({"seconds": [1.0], "peak": 1.0}, "no memory", True),
        ("no memory", "no memory", False),
    ],
)
def test_ours_holds_where_it_is_not_slower_or_larger(sides, mine, theirs, holds):
    sides[0].update({"": mine, "dir": theirs})
    text, held = pairs.row("m", ("DePT", 1000, "dir"), 1)
    assert held is holds
    assert text.endswith("| no memory | - | - |") == (theirs == "no memory")
