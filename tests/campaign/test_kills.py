"""A little of the parts that kill, that start many at once, and that give too little."""

from __future__ import annotations

import json
import subprocess

import pytest

from tests.campaign.figures import Figure
from tests.campaign.parts import PARTS, ROOT, command

SHARES = {"kills-of-a-training": 0.02, "kills-of-splits": 0.02}
SLOW = {"kills-of-a-search": 0.02, "kills-of-rounds": 0.01, "limits": 0.02, "at-once": 0.15, "kills-of-runs": 0.05}


@pytest.mark.parametrize("name", [*SHARES, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)])
def test_part_tries_a_little_and_all_is_survived(tmp_path, name):
    part = next(part for part in PARTS if part.name == name)
    answer, share = tmp_path / "answer.json", {**SHARES, **SLOW}[name]
    ended = subprocess.run(
        command(part, tmp_path / "scratch", 1, share, answer), cwd=ROOT, capture_output=True, text=True, timeout=300
    )
    assert ended.returncode == 0, ended.stderr[-2000:]
    figures = [Figure.of_json(one) for one in json.loads(answer.read_text())]
    assert {figure.row for figure in figures} <= set(part.rows)
    assert sum(figure.tried for figure in figures) > 0
    assert [fault for figure in figures for fault in figure.faults] == []
