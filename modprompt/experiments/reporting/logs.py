"""Runs of other Dassl-based codebases (CoOp, MaPLe, PromptSRC, SuPr, ...), read from the log files in their folders."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from modprompt.errors import UserError
from modprompt.experiments.plan.experiment import CROSS, Experiment
from modprompt.experiments.plan.first_stages import group_of, trains
from modprompt.experiments.plan.protocols import ALONE
from modprompt.experiments.reporting.runs import PLACE, Runs

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
_NAME = re.compile(r"log\.txt(-[\d-]+)?")  # a run that was started again has a second file with the time in its name
_FIELD = re.compile(r"^\* (total|correct|accuracy): ([\d,.]+)")
_EVALUATED = re.compile(r"(?:Evaluate on the \*|Do evaluation on )(\w+)")
_END = ("Finish training", "Finished training")


def read_run(folder: Path) -> tuple[float | None, str]:
    """Return the last accuracy on test images in the newest log of a run, in percent, or None and the reason.

    Of a training run, only an accuracy after the end of the training counts.
    """
    logs = [path for path in folder.glob("log.txt*") if _NAME.fullmatch(path.name) and path.is_file()]
    if not logs:
        return None, "there is no log file"
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
        unfinished = f"unfinished; the log {f'ends with: {last[:80]}' if last else 'is empty'}"
        is_test = measured_on == "test"
        return None, unfinished if is_test else f"the log has an accuracy on {measured_on} images only"
    try:
        accuracy = float(fields["accuracy"])
        if float(fields.get("total", 0)) and "correct" in fields:  # exact, while the accuracy in the log is rounded
            accuracy = 100 * float(fields["correct"]) / float(fields["total"])
    except ValueError as error:
        return None, f"the log is damaged: {error}"
    return (accuracy, "") if 0 <= accuracy <= 100 else (None, f"the log is damaged: accuracy {accuracy:g}%")


class Run(NamedTuple):
    """A run: zero-shot runs and training runs on all images have 0 shots, and a path without a seed has seed 0."""

    trainer: str
    config: str
    shots: int
    dataset: str
    column: str
    seed: int

    @property
    def uses_all_images(self) -> bool:
        """Return True for a training run on all images."""
        return trains(self.trainer) and not self.shots


def _folders(root: Path) -> Iterator[tuple[str, Path]]:
    """Yield the path below a folder, and the absolute path, of each folder that contains a log."""
    for where, inner, files in os.walk(root):
        inner[:] = sorted(name for name in inner if ".stale-" not in name)
        if any(map(_NAME.fullmatch, files)):
            yield Path(where).relative_to(root).as_posix(), Path(where)


def _first(patterns: Sequence[re.Pattern[str]], path: str) -> re.Match[str] | None:
    """Return the match of the first pattern that matches a path."""
    return next(filter(None, (pattern.search(path) for pattern in patterns)), None)


def _match(path: str, protocol: str, source: str) -> tuple[re.Match[str], str] | None:
    """Return the parts of the path of a run, and the column that the run fills in the tables of a protocol."""
    if protocol == "base2new":
        match = _first(_BASE2NEW, path)
        return (match, "new" if match["kind"] == "test_new" else "base") if match else None
    tested, trained = _first(_TESTED, path), _TRAINED.search(path)
    alone = _ZERO_SHOT.search(path)
    alone = alone if alone and not trains(alone["trainer"]) else None
    if protocol in CROSS:
        if trained and not tested and trained["dataset"] != source:  # a few-shot run
            return None
        match = tested or trained or alone
        return (match, "accuracy") if match else None
    if trained and not tested and not path.startswith("crossdataset/"):
        return trained, trained["shots"]
    return (alone, "0") if alone else None


def discover(root: Path, protocol: str, source: str = "imagenet") -> dict[Run, Path]:
    """Return the runs of a protocol in an output folder, in the order of their paths, with the folder of each run.

    A base accuracy is read from train_base, and from test_base only if train_base has none.

    Args:
        root: the output folder.
        protocol: the protocol of the runs.
        source: the training data set of the protocols across data sets.
    """
    runs: dict[Run, Path] = {}
    for path, folder in _folders(root):  # train_base comes after test_base
        if match := _match(path, protocol, source):
            parts, column = match[0].groupdict(), match[1]
            config, shots = parts["config"] + (parts.get("more") or ""), max(int(parts.get("shots") or 0), 0)
            runs[Run(parts["trainer"], config, shots, parts["dataset"], column, int(parts.get("seed") or 0))] = folder
    return runs


def add_log_files(runs: Runs, root: Path, label: str) -> Runs:
    """Return runs together with those in the output folder of another codebase, which are read from its log files.

    A warning lists runs with other data sets or shots, which are left out.

    Args:
        runs: the runs of the report, whose protocol, shots and data sets the other runs must have.
        root: the output folder.
        label: a text that follows the names of the methods in parentheses.

    Raises:
        UserError: if the folder does not exist or has no such run, or if the report has a method of the same name.
    """
    if not root.is_dir():
        raise UserError(f"--with: the folder {root} does not exist. Check the path.")
    experiment = runs.experiment
    folders = discover(root, experiment.protocol, experiment.source)
    has_zero_shot = any(run.column == "0" and not run.uses_all_images for run in folders)
    columns = runs.columns if "0" in runs.columns or not has_zero_shot else ("0", *runs.columns)
    kept = [run for run in folders if run.dataset in runs.datasets and run.column in columns]
    kept = [run for run in kept if run.shots in (*experiment.shots, 0)]
    if experiment.protocol == "few_shot":
        kept = [run for run in kept if not run.uses_all_images]
    if not kept:
        raise UserError(
            f"--with: {root} contains no run of protocol {experiment.protocol} with the data sets and shots of this "
            "report. Check the folder."
        )
    other_datasets = {run.dataset for run in folders} - {*runs.datasets}
    shots = sorted({run.shots for run in {*folders} - {*kept} if run.dataset not in other_datasets})
    names = [*sorted(other_datasets), *(f"{number or 'all'} shots" for number in shots)]
    if names:
        print(f"warning: The report leaves out these runs of {label}: {', '.join(names)}.", file=sys.stderr)
    methods, rows = list[dict[str, Any]](), list[dict[str, Any]]()
    configs = dict.fromkeys((run.trainer, run.config, run.uses_all_images) for run in kept)
    for trainer, config, uses_all in configs:
        is_alone = sum(other == trainer for other, _, _ in configs) == 1
        name = f"{trainer} ({label})" if is_alone else f"{trainer} {config}{', all images' * uses_all} ({label})"
        if name in {*runs.methods["label"], *(method["label"] for method in methods)}:
            raise UserError(
                f"--with: the report already has a method {name!r}. Use another label for {root}: --with LABEL={root}."
            )
        own = [run for run in kept if (run.trainer, run.config, run.uses_all_images) == (trainer, config, uses_all)]
        methods.append(
            {
                "label": name,
                "family": name,
                "seeds": experiment.seeds if trains(trainer) else tuple(sorted({run.seed for run in own})),
                "trains": trains(trainer),
                "columns": ALONE if experiment.joint_test else (),  # logs have no test of both halves together
                "group": group_of(trainer, {}),
                "remark": "trained on all images" if uses_all else "",
            }
        )
        for run in own:
            accuracy, reason = read_run(folders[run])
            place = dict(zip(PLACE, (name, run.dataset, run.column, run.seed)))
            rows.append({**place, "accuracy_pct": accuracy, "reason": reason})
    return runs.with_methods(methods, rows, columns)


def experiment_of_folder(root: Path, protocol: str, seeds: tuple[int, ...], shots: tuple[int, ...]) -> Experiment:
    """Return an experiment without methods, with the data sets, seeds and shots of the runs in an output folder.

    Args:
        root: the output folder of another codebase.
        protocol: the protocol of the runs.
        seeds: the seeds; empty for all.
        shots: the numbers of shots; empty for all.

    Raises:
        UserError: if the folder has no run of the protocol, or has several numbers of shots but the protocol needs one.
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
