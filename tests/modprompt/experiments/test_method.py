"""What runs and tables call a method."""

from modprompt.experiments.plan.method import short_names


def test_keys_with_one_last_part_are_written_whole():
    assert short_names(["A.X", "B.X", "C.Y"]) == {"A.X": "A.X", "B.X": "B.X", "C.Y": "Y"}
