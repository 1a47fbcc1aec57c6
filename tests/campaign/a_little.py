"""A small share of a part, for the tests."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from tests.campaign.figures import Figure
from tests.campaign.parts import PARTS, ROOT, command


def tried(name: str, folder: Path, seed: int, share: float, limit_s: int) -> list[Figure]:
    """The figures of a part that has run in a process of its own, which must end well and in time."""
    part = next(part for part in PARTS if part.name == name)
    answer = folder / "answer.json"
    words = command(part, folder / "scratch", seed, share, answer)
    ended = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=limit_s)
    assert ended.returncode == 0, ended.stderr[-2000:]
    figures = [Figure.of_json(one) for one in json.loads(answer.read_text())]
    assert {figure.row for figure in figures} <= set(part.rows)
    return figures
