"""Both sides of a row: what is put beside each other, what has no number, and whether what is asked for holds."""

import json
import subprocess
import sys

import pytest

from benchmarks import pairs
from modprompt.places import ROOT


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


@pytest.mark.parametrize(("seconds", "peak"), [(4.1, 1.0), (1.0, 2.1)])
def test_slower_or_larger_than_theirs_does_not_hold(sides, seconds, peak):
    said, _ = sides
    said.update({"": {"seconds": [seconds], "peak": peak}, "dir": {"seconds": [4.0], "peak": 2.0}})
    assert not pairs.row("m", ("DePT", 5, "dir"), 1)[1]


@pytest.mark.parametrize(("mine", "holds"), [({"seconds": [1.0], "peak": 1.0}, True), ("no memory", False)])
def test_a_side_without_a_number_says_why(sides, mine, holds):
    said, _ = sides
    said.update({"": mine, "dir": "no memory"})
    text, held = pairs.row("m", ("DePT", 1000, "dir"), 1)
    assert text.endswith("| no memory | - | - |")
    assert held is holds


PROGRAM = """
import sys
sys.path.insert(0, {root!r})
from benchmarks.pairs import limit
limit({most_s})
{work}
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="limits of Linux")
@pytest.mark.parametrize(
    ("work", "most_s", "said"),
    [
        ("import torch; torch.empty(1 << 45, dtype=torch.int8)", 0, "no memory"),
        ("while True: pass", 4, "over 4 s in all"),
        ('print(\'{"seconds": [1.0], "peak": 1.0}\')', 0, {"seconds": [1.0], "peak": 1.0}),
    ],
)
def test_a_process_ends_at_its_limits(work, most_s, said, tmp_path, monkeypatch):
    (tmp_path / "program.py").write_text(PROGRAM.format(root=str(ROOT), most_s=most_s, work=work))
    run = subprocess.run

    def instead(words, **named):
        assert json.loads(words[words.index("--one") + 1]) == ["DePT", 5, ""]
        return run([sys.executable, str(tmp_path / "program.py")], **named)

    monkeypatch.setattr(subprocess, "run", instead)
    assert pairs.in_a_process("benchmarks.taught", ("DePT", 5, ""), most_s) == said
