"""Results from the log files of CoOp-family codebases."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

_FIELD = re.compile(r"^\* (total|correct|accuracy): ([\d,.]+)")
_NAME = re.compile(r"log\.txt(-[\d-]+)?")  # of a later start with the time after its name
_BEGINS = re.compile(r"\*\* Arguments \*\*|\*\* .+, seed .+ \*\*")  # the family's first lines, and this project's
_EVALUATED = re.compile(r"(?:Evaluate on the \*|Do evaluation on )(\w+)")
_MODEL = re.compile(r'Loading weights to .+ from "(.+)"|model_dir: (.+)')
_END = ("Finish training", "Finished training")
_TEST, _SAME_PCT = "test", 0.05  # of percentages, some of which were rounded to a digit


class LogResult(NamedTuple):
    """Accuracy of a finished run in percent, or None and the reason why there is none.

    model: the path of the model that was tested, as the log has it; empty where it says none.
    trained: whether it comes from a training.
    doubt: which other results give another accuracy.
    """

    accuracy_pct: float | None
    reason: str = ""
    model: str = ""
    trained: bool = False
    doubt: str = ""

    def differs(self, other: LogResult) -> bool:
        """Whether both have an accuracy, and not the same."""
        mine, theirs = self.accuracy_pct, other.accuracy_pct
        return mine is not None and theirs is not None and abs(mine - theirs) > _SAME_PCT


def logs_of(folder: Path) -> list[Path]:
    """The logs of a run's starts in the order of their times; by name log.txt may be the first or the last."""
    logs = [path for path in folder.glob("log.txt*") if _NAME.fullmatch(path.name) and path.is_file()]
    return sorted(logs, key=lambda path: (path.stat().st_mtime, path.name))


def read_log(path: Path) -> list[LogResult]:
    """The result of each start that is in a log, in order."""
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    return [_of_start(own) for own in _starts(lines)] or [LogResult(None, "unfinished (empty log)")]


def _starts(lines: list[str]) -> Iterator[list[str]]:
    """The lines of each start; a training after a whole test begins a new one, however the two came together."""
    own: list[str] = []
    has_result = trains = False
    for line in lines:
        is_epoch = line.startswith("epoch [")
        if _BEGINS.fullmatch(line.strip()) or (is_epoch and has_result and not trains):
            yield from filter(_says, [own])
            own, has_result, trains = [], False, False
        own.append(line)
        trains = (trains or is_epoch) and not line.startswith(_END)
        has_result = has_result or line.startswith("* accuracy:")
    yield from filter(_says, [own])


def _says(lines: list[str]) -> str:
    """The last line that says something; frames of headings do not."""
    return next((line.strip() for line in reversed(lines) if line.strip(" *")), "")


def _of_start(lines: list[str]) -> LogResult:
    """The last result on test images; one of a training run counts only after its "Finish training"."""
    trained = any(line.startswith("epoch [") for line in lines)
    ends = [place for place, line in enumerate(lines, 1) if line.startswith(_END)]
    try:
        fields, other = _result([] if trained and not ends else lines[max(ends, default=0) :])
    except ValueError as error:
        return LogResult(None, f"damaged log ({error})", trained=trained)
    model = _model(lines)
    if "accuracy" not in fields:
        reason = f"measured on {other} images, not on test images" if other else f"unfinished ({_says(lines)[:80]})"
        return LogResult(None, reason, model, trained)
    accuracy = fields["accuracy"]
    if fields.get("total") and "correct" in fields:  # the log rounds the accuracy; these two numbers are exact
        accuracy = 100 * fields["correct"] / fields["total"]
    if not 0 <= accuracy <= 100:
        return LogResult(None, f"damaged log (accuracy {accuracy:g}%)", model, trained)
    return LogResult(accuracy, "", model, trained)


def _result(lines: list[str]) -> tuple[dict[str, float], str]:
    """The numbers of the last result on test images, and on which others there was one.

    Raises:
        ValueError: on a malformed number; its message is the line.
    """
    fields: dict[str, float] = {}
    on, other = _TEST, ""
    for line in lines:
        if found := _EVALUATED.match(line):
            on = found[1]
        elif line.startswith("=> result"):
            fields, other = ({}, other) if on == _TEST else (fields, on)
        elif on == _TEST and (found := _FIELD.match(line)):
            try:
                fields[found[1]] = float(found[2].replace(",", "").rstrip("."))
            except ValueError:
                raise ValueError(line.strip()[:60]) from None
    return fields, other


def _model(lines: list[str]) -> str:
    """The path of what was loaded last, or else of what was asked for."""
    found = [match for line in lines if (match := _MODEL.match(line.strip()))]
    paths = [match[1] for match in found if match[1]] or [match[2] for match in found]
    return paths[-1] if paths else ""


def read_run(folder: Path, tests: bool = False) -> LogResult:
    """The result of the last start in a run's output folder; those of other starts are a doubt, if they differ.

    Args:
        folder: the folder.
        tests: whether it is that of a test, so that the log of a training does not belong to it.
    """
    if not folder.is_dir():
        return LogResult(None, "missing")
    starts = [(log.name, start) for log in logs_of(folder) for start in read_log(log)]
    if not starts:
        return LogResult(None, "missing (no log)")
    own = [start for _, start in starts if not (tests and start.trained)]
    if not own:
        return LogResult(None, "the log of a training, where that of a test should be")
    others = [
        f"{start.accuracy_pct:.2f} ({'a training in ' if tests and start.trained else ''}{name})"
        for name, start in starts
        if start.differs(own[-1])
    ]
    return own[-1]._replace(doubt=f"its logs also have other results: {', '.join(others)}" if others else "")
