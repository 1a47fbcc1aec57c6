"""Result trees of CoOp-family codebases: which folders hold which runs, by the paths that their scripts use, and what
their logs say."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from modprompt.errors import UserError
from modprompt.experiments.plan.experiment import CROSS, Experiment
from modprompt.experiments.plan.protocols import ALONE
from modprompt.experiments.plan.stages import group_of, trains
from modprompt.experiments.reporting.logs import read_run
from modprompt.experiments.reporting.results import ALL_IMAGES, Line, Outcome, Results

_METHOD = r"(?P<trainer>[^/]+)/(?:eval/)?(?P<config>[^/]+)_(?P<shots>-?\d+)shots(?P<more>/nctx[^/]*)?"
_SEED = r"seed(?P<seed>\d+)(?P<put_by>_[^/]*)?$"  # seed1_old is not seed1
_DATASET = r"(?P<dataset>[^/]+)"
_ALONE = re.compile(r"^(?P<trainer>[^/]+)/(?P<config>[^/]+)/(?P<dataset>[^/]+)$")  # neither shots nor seed
_BASE2NEW = re.compile(
    r"^base2new/(?P<folder>train_base|test_base|test_new)/(?P<dataset>[^/]+)/shots_(?P<shots>-?\d+)/"
    r"(?P<trainer>[^/]+)/(?P<config>[^/]+)/" + _SEED
)
_TESTED = re.compile(rf"^evaluation/{_METHOD}/{_DATASET}/{_SEED}")  # CoOp, MaPLe, PromptSRC
_TESTED_MPL = re.compile(rf"^crossdataset/evaluation/{_DATASET}/{_METHOD}/{_SEED}")
_TRAINED = re.compile(rf"^(?:few_shot/|crossdataset/)?{_DATASET}/{_METHOD}/{_SEED}")
_OF_HALF = r"train_base/(?P<half_of>[^/]+)/shots_(?P<half_shots>-?\d+)/[^/]+/[^/]+"
_MODEL = re.compile(rf"(?:{_OF_HALF}|{_DATASET}/{_METHOD})/seed(?P<seed>\d+)(?:/|$)")  # in the path of a checkpoint


class Found(NamedTuple):
    """A run's folder in a tree.

    shots: 0 for a zero-shot run, and for a training on all images.
    seed: 0 for a zero-shot run whose path has none.
    folder: None if only folders that were put aside, like seed1_old, are there.
    tests: whether the run only tests a model.
    others: more folders of the same run.
    """

    trainer: str
    config: str
    shots: int
    dataset: str
    column: str
    seed: int
    folder: Path | None
    tests: bool = False
    others: tuple[Path, ...] = ()

    def other_model(self, path: str, source: str) -> str:
        """What is wrong with the model that a test of a training has tested; empty if it is that training's.

        Args:
            path: of the model, as the log has it.
            source: what models of the cross protocols are trained on; empty for the others.
        """
        if not self.tests or not trains(self.trainer):
            return ""
        found = _MODEL.search(path.replace("\\", "/"))
        if found is None:
            return "its log does not say what the tested model was trained on" if source else ""
        dataset, shots = found["half_of"] or found["dataset"], found["half_shots"] or found["shots"]
        facts: list[tuple[str, Any, Any]] = [("trained on", dataset, source or self.dataset)]
        facts += [("of seed", int(found["seed"]), self.seed), ("of shots", max(int(shots), 0), self.shots)]
        wrong = [f"{what} {is_so}, not {wanted}" for what, is_so, wanted in facts if is_so != wanted]
        return f"it tested a model {', '.join(wrong)}" if wrong else ""


def _folders(root: Path) -> Iterator[tuple[str, Path]]:
    """Folders below a root that hold a log, with their path from there."""
    for where, inner, files in os.walk(root):
        inner[:] = sorted(name for name in inner if ".stale-" not in name)
        if "log.txt" in files or any(name.startswith("log.txt-") for name in files):
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
        return found, found["shots"] if int(found["shots"]) > 0 else ALL_IMAGES
    found = _zero_shot(path)
    return (found, "0") if found else None


def discover(root: Path, protocol: str, source: str = "imagenet") -> list[Found]:
    """The runs of a protocol below an output folder, in the order of their paths.

    Args:
        root: the folder.
        protocol: of the runs.
        source: what runs of the cross protocols were trained on.

    A base accuracy is taken from train_base, and from test_base only where that has none.
    """
    found: dict[Found, list[tuple[bool, bool, bool, Path]]] = {}
    for path, folder in _folders(root):
        match = _match(path, protocol, source)
        if match is None:
            continue
        parts, column = match[0].groupdict(), match[1]
        run = Found(
            parts["trainer"],
            parts["config"] + (parts.get("more") or ""),
            max(int(parts.get("shots") or 0), 0),
            parts["dataset"],
            column,
            int(parts.get("seed") or 0),
            None,
        )
        half = parts.get("folder")
        tests = half in ("test_base", "test_new") or path.startswith(("evaluation/", "crossdataset/evaluation/"))
        found.setdefault(run, []).append((bool(parts.get("put_by")), half == "test_base", tests, folder))
    return [_of_folders(run, sorted(folders)) for run, folders in found.items()]


def _of_folders(run: Found, folders: list[tuple[bool, bool, bool, Path]]) -> Found:
    (put_by, _, tests, folder), *_ = folders
    others = tuple(path for _, _, _, path in folders if put_by or path != folder)
    return run._replace(folder=None if put_by else folder, tests=tests, others=others)


def _outcome_of_logs(run: Found, source: str) -> Outcome:
    if run.folder is None:
        return Outcome(None, f"there is no seed{run.seed}, but {', '.join(map(str, run.others))}, which is not read")
    found = read_run(run.folder, run.tests)
    wrong = run.other_model(found.model, source)
    if wrong and found.accuracy_pct is not None:
        return Outcome(None, wrong)
    others = [(folder, read_run(folder)) for folder in run.others]
    beside = [f"{folder} has {one.accuracy_pct:.2f}" for folder, one in others if one.differs(found)]
    return Outcome(found.accuracy_pct, found.reason, doubt="; ".join(filter(None, [found.doubt, *beside])))


def add_tree(results: Results, experiment: Experiment, root: Path, label: str) -> None:
    """Add the methods of another output tree, read from its log files.

    Args:
        results: what they are added to.
        experiment: whose protocol, shots and data sets they must have.
        root: the tree's output folder.
        label: comes after the methods' names.

    Raises:
        UserError: if there is no such folder, or no run of that kind in it.
    """
    if not root.is_dir():
        raise UserError(f"--with: there is no folder {root}")
    discovered = discover(root, experiment.protocol, experiment.source)
    runs = [run for run in discovered if run.dataset in results.datasets]
    if experiment.protocol != "few_shot":
        runs = [run for run in runs if run.shots in (*experiment.shots, 0)]
    if "0" not in results.columns and any(run.column == "0" for run in runs):
        results.columns = ("0", *results.columns)  # its zero-shot runs have their own column
    if ALL_IMAGES not in results.columns and any(run.column == ALL_IMAGES for run in runs):
        results.columns = (*results.columns, ALL_IMAGES)  # and so have its trainings on all images
    runs = [run for run in runs if run.column in results.columns]
    if not runs:
        raise UserError(f"--with: {root} has no {experiment.protocol} run of these data sets and shots")
    _tell_left_out({*discovered} - {*runs}, results, label)
    for (trainer, config), own in _by_method(runs).items():
        alone = sum(run_trainer == trainer for run_trainer, _ in _by_method(runs)) == 1
        name = f"{trainer} ({label})" if alone else f"{trainer} {config} ({label})"
        if name in {line.label for line in results.lines}:
            raise UserError(f"--with: there is a method {name!r} already; name the folder, LABEL=FOLDER")
        learns = trains(trainer)
        seeds = experiment.seeds if learns else tuple(sorted({run.seed for run in own}))
        apart = "trained on all images" if _is_of_all(own[0]) else ""
        fits = ALONE if experiment.together else _columns_of(own, results.columns)  # logs do not say both together
        results.lines.append(
            Line(name, name, seeds, trains=learns, columns=fits, group=group_of(trainer, {}), apart=apart)
        )
        for run in own:
            results.add(name, run.dataset, run.column, run.seed, _outcome_of_logs(run, experiment.source))


def _tell_left_out(runs: Collection[Found], results: Results, label: str) -> None:
    others = sorted({run.dataset for run in runs if run.dataset not in results.datasets})
    shots = sorted({run.shots for run in runs if run.dataset in results.datasets})
    left = [*others, *(f"{number} shots" for number in shots)]
    if left:
        print(f"warning: {label}: this report has no place for its {', '.join(left)}", file=sys.stderr)


def _is_of_all(run: Found) -> bool:
    """Whether a run is set apart as one on all images; those with their own column are not."""
    return trains(run.trainer) and not run.shots and run.column != ALL_IMAGES


def _columns_of(own: Sequence[Found], columns: Sequence[str]) -> tuple[str, ...]:
    """The columns of a method with trainings on all images, which may have none on fewer; empty for all others."""
    there = {run.column for run in own}
    if ALL_IMAGES not in there:
        return ()
    return tuple(column for column in columns if column == ALL_IMAGES or (column != "0" and len(there) > 1))


def _by_method(runs: Sequence[Found]) -> dict[tuple[str, str], list[Found]]:
    """By trainer and config; trainings on all images without their own column are a separate method."""
    methods: dict[tuple[str, str], list[Found]] = {}
    for run in runs:
        config = f"{run.config}, all images" if _is_of_all(run) else run.config
        methods.setdefault((run.trainer, config), []).append(run)
    return methods


def experiment_of_tree(root: Path, protocol: str, seeds: tuple[int, ...], shots: tuple[int, ...]) -> Experiment:
    """An experiment without its own methods: the data sets that a tree has, and seeds and shots unless given.

    Raises:
        UserError: if the tree has no run of the protocol.
    """
    runs = discover(root, protocol)
    if not runs:
        raise UserError(f"no {protocol} run below {root}: expected folders of the family's scripts with log.txt files")
    datasets = sorted({run.dataset for run in runs})
    source = "imagenet" if protocol in CROSS else ""
    datasets = [name for name in datasets if name != source]
    found = tuple(sorted({run.shots for run in runs if run.shots})) or ((16,) if protocol != "few_shot" else ())
    if protocol != "few_shot" and len(shots or found) > 1:
        raise UserError(f"{root} has runs of {', '.join(map(str, found))} shots: choose with --shots")
    return Experiment(
        name=root.name or "report",
        title=f"Results of {root.absolute().name}",
        protocol=protocol,
        datasets=tuple(datasets),
        source=source,
        shots=shots or found,
        seeds=seeds or tuple(sorted({run.seed for run in runs if trains(run.trainer)})) or (1,),
        methods=(),
        highlight="",
        notes="",
    )
