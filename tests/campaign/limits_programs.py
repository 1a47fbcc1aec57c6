"""The programs that part "limits" gives too little: trainings, a test, a search, rounds, unpacking, a report."""

from __future__ import annotations

import os
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from modprompt.data.prepare.unpack import unpack
from modprompt.experiments.plan import protocols, spec
from modprompt.experiments.reporting import report
from modprompt.programs import report as program
from tests.campaign import kills
from tests.campaign.kills_rounds import ROUNDS
from tests.campaign.kills_search import SEARCH
from tests.campaign.kills_training import MPL
from tests.modprompt.experiments import fakes

PROGRAMS = 6


class Program(NamedTuple):
    """A program that gets too little.

    name: for the table.
    before: its folder, before it starts.
    run: the program in a folder; its exit code.
    facts: what came of it.
    changes: how many changes to the disk it makes.
    """

    name: str
    before: Path
    run: Callable[[Path], int]
    facts: Callable[[Path], dict[str, Any]]
    changes: int = 0


def _files(root: Path) -> dict[str, Any]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def _archive(scratch: Path) -> Program:
    before = scratch / "archive"
    before.mkdir()
    with zipfile.ZipFile(before / "pictures.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(20):
            archive.writestr(f"pictures/{number % 4}/{number}.txt", os.urandom(2000 + 500 * number))

    def run(root: Path) -> int:
        if (root / "unpacked").exists():
            return 0
        shutil.rmtree(root / "aside", ignore_errors=True)
        return program(unpack, root / "pictures.zip", root / "aside") or program(
            (root / "aside").rename, root / "unpacked"
        )

    return Program("unpacking", before, run, _files)


def _report(scratch: Path) -> Program:
    before = scratch / "experiment"
    before.mkdir()
    (scratch / "small.yaml").write_text(
        "protocol: base2new\ndatasets: [digits]\nseeds: [1, 2]\nmethods:\n  MPL: {trainer: MPL, config: glyph}\n"
    )
    for number, job in enumerate(protocols.jobs(spec.read(scratch / "small.yaml"))):
        fakes.finish(job, before / "out", 50.0 + number)

    def run(root: Path) -> int:
        words = [str(root.parent / "small.yaml"), "--out", str(root / "out"), "--data", str(root / "data")]
        return report.main(words)

    return Program("a report", before, run, lambda root: {name: 0 for name in _files(root)})


def _facts_of_run(root: Path) -> dict[str, Any]:
    """Without caches, whose names have the times of their images."""
    facts = kills.facts_of_run(root)
    return {**facts, "files": {name for name in facts["files"] if not name.startswith("kept/")}}


def _of_training(name: str, tree: Path, trainer: str, options: dict[str, Any]) -> Program:
    def run(root: Path) -> int:
        kept = {"TEST.IMAGE_CACHE": root / "kept", "TEST.FEATURE_CACHE": root / "kept"}
        return kills.train_in(root, trainer, {**options, **kept}, quiet=False)

    return Program(name, tree, run, _facts_of_run)


def programs(scratch: Path) -> list[Program]:
    """All of them, with their changes to the disk not counted yet."""
    tree = kills.prepare(scratch)
    return [
        _of_training("a training", tree, "MPL", MPL),
        _of_training("a test with caches", tree, "ZeroshotCLIP", {"DATASET.NUM_SHOTS": 2}),
        _of_training("a search", tree, "DPLSearch", SEARCH),
        _of_training("rounds", tree, "MPL", {**ROUNDS, "ACTIVE.ASK": False}),
        _archive(scratch),
        _report(scratch),
    ]


def quietly(one: Program, root: Path) -> None:
    """Run it without a word; SystemExit if it does not end well."""
    with kills.silent():
        if one.run(root):
            raise SystemExit(1)
