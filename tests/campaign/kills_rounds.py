"""Kills of rounds of active learning that wait for labels, get them from people, and go on."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

from modprompt.data.readers.eurosat import CLASS_NAMES
from modprompt.io.text import write_whole
from tests.campaign import kills
from tests.campaign.figures import Figure, joined

ROUNDS = {
    "ACTIVE.METHOD": "badge",
    "ACTIVE.PCB": True,
    "ACTIVE.ROUNDS": 2,
    "ACTIVE.GAMMA": 0.5,
    "ACTIVE.ASK": True,
    "OPTIM.MAX_EPOCH": 1,
    "TRAINER.MPL.PREC": "fp32",
    "TRAINER.MPL.PROMPT_DEPTH": 2,
}
KNOWING = 0.25  # of their changes: but for the waiting they are the same
WAITS = 3


def _fill(path: Path) -> None:
    """As a person does: the label of each image, which its folder tells; written whole, as a spreadsheet does."""
    text = path.read_text("utf-8-sig")
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    for row in rows:
        row["label"] = row["label"] or CLASS_NAMES[Path(row["file"]).parent.name]
    filled = io.StringIO(newline="")
    writer = csv.DictWriter(filled, rows[0])
    writer.writeheader()
    writer.writerows(rows)
    write_whole(path, filled.getvalue())


def _rounds(root: Path) -> None:
    """The command, and a person, in turn, until there is nothing left to do."""
    while True:
        code = kills.train_in(root, "MPL", ROUNDS)
        if code == 0:
            return
        if code != WAITS:
            raise SystemExit(1)
        _fill(max((root / "out" / "rounds").glob("round_?.csv")))


def _facts(root: Path) -> dict[str, Any]:
    """Without losses: of starts in one second Dassl keeps one log."""
    return {name: fact for name, fact in kills.facts_of_run(root).items() if name != "losses"}


def run(scratch: Path, seed: int, share: float) -> list[Figure]:
    """All changes, those of the person too; and some of rounds whose labels the data set knows."""
    tree = kills.prepare(scratch, images_per_class=5)
    asking = kills.Work("rounds that ask", tree, _rounds, _facts)
    knowing = kills.Work("rounds that know", tree, kills.trained("MPL", {**ROUNDS, "ACTIVE.ASK": False}), _facts)
    figures = [kills.killed(asking, scratch, seed, share), kills.killed(knowing, scratch, seed, share * KNOWING)]
    return [joined(figures, "kills of a labelling round")]
