"""Result trees of CoOp-family codebases: which folders hold which runs, by the paths that their scripts use."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any, Iterator, NamedTuple

from modprompt.experiments.plan.experiment import CROSS
from modprompt.experiments.plan.kinds import trains

_METHOD = r"(?P<trainer>[^/]+)/(?:eval/)?(?P<config>[^/]+)_(?P<shots>\d+)shots(?P<more>/nctx[^/]*)?"
_SEED = r"seed(?P<seed>\d+)(?:_[^/]*)?$"
_DATASET = r"(?P<dataset>[^/]+)"
_ALONE = re.compile(r"^(?P<trainer>[^/]+)/(?P<config>[^/]+)/(?P<dataset>[^/]+)$")  # neither shots nor seed
_BASE2NEW = re.compile(
    r"^base2new/(?P<folder>train_base|test_base|test_new)/(?P<dataset>[^/]+)/shots_(?P<shots>\d+)/"
    r"(?P<trainer>[^/]+)/(?P<config>[^/]+)/" + _SEED
)
_TESTED = re.compile(rf"^evaluation/{_METHOD}/{_DATASET}/{_SEED}")  # CoOp, MaPLe, PromptSRC
_TESTED_MPL = re.compile(rf"^crossdataset/evaluation/{_DATASET}/{_METHOD}/{_SEED}")
_TRAINED = re.compile(rf"^(?:few_shot/|crossdataset/)?{_DATASET}/{_METHOD}/{_SEED}")


class Found(NamedTuple):
    """A run's folder in a tree; seed 0 and no shots for a zero-shot run whose path has none."""

    trainer: str
    config: str
    shots: int
    dataset: str
    column: str
    seed: int
    folder: Path


def _folders(root: Path) -> Iterator[tuple[str, Path]]:
    """Folders below a root that hold a log, with their path from there."""
    for where, inner, files in os.walk(root):
        inner[:] = sorted(name for name in inner if ".stale-" not in name)
        if any(name.startswith("log.txt") for name in files):
            yield Path(where).relative_to(root).as_posix(), Path(where)


def _zero_shot(path: str) -> re.Match[str] | None:
    found = _ALONE.search(path)
    return found if found and not trains(found["trainer"]) else None


def _match(path: str, protocol: str, source: str) -> tuple[re.Match[str], str] | None:
    """The parts of a path, and the column that its run fills in a protocol's table."""
    if protocol == "base2new":
        found = _BASE2NEW.search(path)
        return (found, "new" if found["folder"] == "test_new" else "base") if found else None
    tested, trained = _TESTED.search(path) or _TESTED_MPL.search(path), _TRAINED.search(path)
    if protocol in CROSS:
        if trained and not tested and trained["dataset"] != source:  # a few-shot run of that data set
            return None
        found = tested or trained or _zero_shot(path)
        return (found, "accuracy") if found else None
    found = None if tested or path.startswith("crossdataset/") else trained
    if found:
        return found, found["shots"]
    found = _zero_shot(path)
    return (found, "0") if found else None


def discover(root: Path, protocol: str, source: str = "imagenet") -> list[Found]:
    """The runs of a protocol below an output folder, in the order of their paths.

    Args:
        root: the folder.
        protocol: what the runs are of.
        source: what those of the cross protocols were trained on.

    A base accuracy is taken from train_base, and from test_base only where that has none.
    """
    found: dict[tuple[Any, ...], Found] = {}
    for path, folder in _folders(root):
        match = _match(path, protocol, source)
        if match is None:
            continue
        parts, column = match[0].groupdict(), match[1]
        run = Found(
            parts["trainer"],
            parts["config"] + (parts.get("more") or ""),
            int(parts.get("shots") or 0),
            parts["dataset"],
            column,
            int(parts.get("seed") or 0),
            folder,
        )
        if parts.get("folder") == "train_base":
            found[run[:-1]] = run
        else:
            found.setdefault(run[:-1], run)
    return list(found.values())
