"""Output trees of other CoOp-family codebases: which folders hold which runs, by their scripts' paths, and the last
accuracy of the newest log in each."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from modprompt.errors import UserError
from modprompt.experiments.plan.experiment import CROSS, Experiment
from modprompt.experiments.plan.protocols import ALONE
from modprompt.experiments.plan.stages import group_of, trains
from modprompt.experiments.reporting.results import Line, Outcome, Results

_METHOD = r"(?P<trainer>[^/]+)/(?:eval/)?(?P<config>[^/]+)_(?P<shots>-?\d+)shots(?P<more>/nctx[^/]*)?"
_WHOSE, _SHOTS = r"(?P<trainer>[^/]+)/(?P<config>[^/]+)", r"shots_(?P<shots>-?\d+)"
_DATASET, _SEED = r"(?P<dataset>[^/]+)", r"seed(?P<seed>\d+)$"  # seed1_old is not seed1
_ZERO_SHOT = re.compile(rf"^{_WHOSE}/{_DATASET}$")  # neither shots nor seed
_KIND = r"(?P<kind>train_base|test_base|test_new)"
_BASE2NEW = (  # CoOp and most others; SuPr
    re.compile(rf"^base2new/{_KIND}/{_DATASET}/{_SHOTS}/{_WHOSE}/{_SEED}"),
    re.compile(rf"^base2new/{_WHOSE}/{_KIND}/{_DATASET}/{_SHOTS}/{_SEED}"),
)
_TESTED = (  # CoOp, MaPLe, PromptSRC; MPL
    re.compile(rf"^evaluation/{_METHOD}/{_DATASET}/{_SEED}"),
    re.compile(rf"^crossdataset/evaluation/{_DATASET}/{_METHOD}/{_SEED}"),
)
_TRAINED = re.compile(rf"^(?:few_shot/|crossdataset/)?{_DATASET}/{_METHOD}/{_SEED}")
_NAME = re.compile(r"log\.txt(-[\d-]+)?")  # of a later start with the time after its name
_FIELD = re.compile(r"^\* (total|correct|accuracy): ([\d,.]+)")
_EVALUATED = re.compile(r"(?:Evaluate on the \*|Do evaluation on )(\w+)")
_END = ("Finish training", "Finished training")


def read_run(folder: Path) -> Outcome:
    """The last result on test images in the newest log of a run; of a training only what follows its end."""
    logs = [path for path in folder.glob("log.txt*") if _NAME.fullmatch(path.name) and path.is_file()]
    if not logs:
        return Outcome(None, "there is no log file")
    newest = max(logs, key=lambda path: (path.stat().st_mtime, path.name))
    lines = newest.read_text(encoding="utf-8", errors="replace").splitlines()
    last = next((line.strip() for line in reversed(lines) if line.strip(" *")), "")
    steps = [at for at, line in enumerate(lines) if line.startswith("epoch [")]
    ends = [at for at, line in enumerate(lines) if line.startswith(_END) and steps and at > steps[-1]]
    fields, measured_on = dict[str, str](), "test"
    for line in lines[ends[-1] if ends else 0 :] if ends or not steps else ():
        if match := _EVALUATED.match(line):
            measured_on = match[1]
        elif line.startswith("=> result") and measured_on == "test":
            fields = {}
        elif measured_on == "test" and (match := _FIELD.match(line)):
            fields[match[1]] = match[2].replace(",", "").rstrip(".")
    if "accuracy" not in fields:
        other = measured_on != "test"
        why = (
            f"the log has an accuracy on {measured_on} images only"
            if other
            else f"unfinished; the log {f'ends with: {last[:80]}' if last else 'is empty'}"
        )
        return Outcome(None, why)
    try:
        accuracy = float(fields["accuracy"])
        if float(fields.get("total", 0)) and "correct" in fields:  # these two are exact, and the accuracy is rounded
            accuracy = 100 * float(fields["correct"]) / float(fields["total"])
    except ValueError as error:
        return Outcome(None, f"the log is damaged: {error}")
    return Outcome(accuracy) if 0 <= accuracy <= 100 else Outcome(None, f"the log is damaged: accuracy {accuracy:g}%")


class Run(NamedTuple):
    """A run in a tree: 0 shots of a zero-shot run and of a training on all images, seed 0 where its path has none."""

    trainer: str
    config: str
    shots: int
    dataset: str
    column: str
    seed: int

    @property
    def is_of_all(self) -> bool:
        """Whether it is a training on all images."""
        return trains(self.trainer) and not self.shots


def _folders(root: Path) -> Iterator[tuple[str, Path]]:
    """Folders below a root that hold a log, with their path from there."""
    for where, inner, files in os.walk(root):
        inner[:] = sorted(name for name in inner if ".stale-" not in name)
        if any(map(_NAME.fullmatch, files)):
            yield Path(where).relative_to(root).as_posix(), Path(where)


def _first(patterns: Sequence[re.Pattern[str]], path: str) -> re.Match[str] | None:
    """Return the match of the first pattern that a path has."""
    return next(filter(None, (one.search(path) for one in patterns)), None)


def _match(path: str, protocol: str, source: str) -> tuple[re.Match[str], str] | None:
    """The parts of a path, and the column that its run fills in a protocol's table."""
    if protocol == "base2new":
        match = _first(_BASE2NEW, path)
        return (match, "new" if match["kind"] == "test_new" else "base") if match else None
    tested, trained = _first(_TESTED, path), _TRAINED.search(path)
    alone = _ZERO_SHOT.search(path)
    alone = alone if alone and not trains(alone["trainer"]) else None
    if protocol in CROSS:
        if trained and not tested and trained["dataset"] != source:  # a few-shot run of that data set
            return None
        match = tested or trained or alone
        return (match, "accuracy") if match else None
    if trained and not tested and not path.startswith("crossdataset/"):
        return trained, trained["shots"]
    return (alone, "0") if alone else None


def discover(root: Path, protocol: str, source: str = "imagenet") -> dict[Run, Path]:
    """The runs of a protocol below an output folder, in the order of their paths, and their folders.

    Args:
        root: the folder.
        protocol: of the runs.
        source: what runs of the cross protocols were trained on.

    A base accuracy is taken from train_base, and from test_base only where that has none.
    """
    runs: dict[Run, Path] = {}
    for path, folder in _folders(root):  # train_base comes after test_base
        if match := _match(path, protocol, source):
            parts, column = match[0].groupdict(), match[1]
            config, shots = parts["config"] + (parts.get("more") or ""), max(int(parts.get("shots") or 0), 0)
            runs[Run(parts["trainer"], config, shots, parts["dataset"], column, int(parts.get("seed") or 0))] = folder
    return runs


def add_tree(results: Results, experiment: Experiment, root: Path, label: str) -> None:
    """Add the methods of another output tree, read from its log files; what has no place in the report is named.

    Args:
        results: what they are added to.
        experiment: whose protocol, shots and data sets they must have.
        root: the tree's output folder.
        label: comes after the methods' names.

    Raises:
        UserError: if there is no such folder, no run of that kind in it, or a method has the name already.
    """
    if not root.is_dir():
        raise UserError(f"--with: the folder {root} does not exist. Check the path.")
    folders = discover(root, experiment.protocol, experiment.source)
    if "0" not in results.columns and any(run.column == "0" and not run.is_of_all for run in folders):
        results.columns = ("0", *results.columns)  # its zero-shot runs have their own column
    here = [run for run in folders if run.dataset in results.datasets and run.column in results.columns]
    runs = [run for run in here if run.shots in (*experiment.shots, 0)]
    if experiment.protocol == "few_shot":
        runs = [run for run in runs if not run.is_of_all]
    if not runs:
        raise UserError(
            f"--with: {root} contains no run of protocol {experiment.protocol} with the data sets and shots of this "
            "report. Check the folder."
        )
    left = {run.dataset for run in folders} - {*results.datasets}
    shots = sorted({run.shots for run in {*folders} - {*runs} if run.dataset not in left})
    names = [*sorted(left), *(f"{number or 'all'} shots" for number in shots)]
    if names:
        print(f"warning: The report leaves out these runs of {label}: {', '.join(names)}.", file=sys.stderr)
    methods = dict.fromkeys((run.trainer, run.config, run.is_of_all) for run in runs)
    for trainer, config, is_of_all in methods:
        is_alone = sum(one[0] == trainer for one in methods) == 1
        name = f"{trainer} ({label})" if is_alone else f"{trainer} {config}{', all images' * is_of_all} ({label})"
        if name in {line.label for line in results.lines}:
            raise UserError(
                f"--with: the report already has a method {name!r}. Use another label for {root}: --with LABEL={root}."
            )
        own = [run for run in runs if (run.trainer, run.config, run.is_of_all) == (trainer, config, is_of_all)]
        seeds = experiment.seeds if trains(trainer) else tuple(sorted({run.seed for run in own}))
        columns = ALONE if experiment.together else ()  # logs do not say both together
        apart = "trained on all images" if is_of_all else ""
        line = Line(
            name, name, seeds, trains=trains(trainer), columns=columns, group=group_of(trainer, {}), apart=apart
        )
        results.lines.append(line)
        for run in own:
            results.add(name, run.dataset, run.column, run.seed, read_run(folders[run]))


def experiment_of_tree(root: Path, protocol: str, seeds: tuple[int, ...], shots: tuple[int, ...]) -> Experiment:
    """An experiment without its own methods: the data sets that a tree has, and seeds and shots unless given.

    Raises:
        UserError: if the tree has no run of the protocol, or of several numbers of shots where one is asked for.
    """
    runs = discover(root, protocol)
    if not runs:
        raise UserError(
            f"No run of protocol {protocol} was found in {root}. Each run must have a file log.txt, and the folders "
            "must be named as in CoOp and MaPLe. Check the folder and --protocol."
        )
    source = "imagenet" if protocol in CROSS else ""
    known = tuple(sorted({run.shots for run in runs if run.shots})) or (16,)
    if protocol != "few_shot" and len(shots or known) > 1:
        raise UserError(
            f"{root} contains runs with different numbers of shots ({', '.join(map(str, known))}), but the protocol "
            f"{protocol} needs a single number. Set --shots."
        )
    return Experiment(
        name=root.name or "report",
        title=f"Results of {root.absolute().name}",
        protocol=protocol,
        datasets=tuple(sorted({run.dataset for run in runs} - {source})),
        source=source,
        shots=shots or known,
        seeds=seeds or tuple(sorted({run.seed for run in runs if trains(run.trainer)})) or (1,),
        methods=(),
        highlight="",
        notes="",
    )
