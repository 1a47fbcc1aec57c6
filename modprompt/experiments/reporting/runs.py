"""The runs of an experiment as one pandas frame: a row for each run and each column of a table that the run fills.

`collect` builds the frame from the states of the runs, and logs.py adds runs of other codebases. Every number of a
report is computed from this frame. `Runs.select(method, dataset, column)` returns the rows behind a cell of a table,
with the folders of the result files.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from modprompt.experiments.plan.experiment import Experiment, Job
from modprompt.experiments.plan.first_stages import GROUPS, SEARCH, group_of
from modprompt.experiments.plan.protocols import (
    ALL,
    ALONE,
    APART,
    TOGETHER,
    columns,
    columns_of,
    reported_methods,
    wanted,
)
from modprompt.experiments.running import state
from modprompt.io import base_new
from modprompt.io.image_files import FAMILY
from modprompt.io.result import AS_TRAINING, BY_CLASS, HELD_OUT, NO_IMAGES, WHOLE, mark_of, seconds
from modprompt.io.settings import READ_AS, READER

METHOD = {  # the columns of the frame of methods, and their values for a method that does not set them
    "label": "",  # the name in tables
    "family": "",  # the name in the experiment file, which all variants of a grid share
    "seeds": (),  # the seeds that a mean needs
    "trains": True,
    "published": "",  # the name in published.yaml
    "acquisition": "",  # the acquisition function, in active learning
    "columns": (),  # the columns that the method fills; empty if `has_column` decides
    "group": "",  # the heading above the method if a table has several groups
    "shots_file": "",  # the file with the number of shots of each class
    "remark": "",  # why the results cannot be compared with those of other methods
}
PLACE = ("method", "dataset", "column", "seed")  # these columns identify a row of the frame of runs
RUN = {  # the other columns, and their values for a run that is missing
    "accuracy_pct": float("nan"),
    "reason": "the run is missing",  # why there is no accuracy
    "result": None,  # the content of result.json
    "folder": None,  # the folder of the run
    "prompts_result": None,  # of a head on trained prompts: the result of the training of the prompts
    "first_stage_s": 0.0,  # seconds of a search or teacher, divided by the number of trainings that use its result
    "notes": (),  # notes of the run and its earlier stages about their training data
}
DECODING, WEIGHTS, IMAGES, FEW_SHOT = "image decoding", "CLIP weights", "images", "few-shot images"
_FACT = ("fact", "of", "place", "version", "value")


def seeds_text(seeds: Collection[int]) -> str:
    """Return the text "seed 1" or "seeds 1, 2"."""
    return f"seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))}"


class Runs:
    """The methods and runs of an experiment.

    Attributes:
        experiment: the experiment.
        methods: a frame with a row for each method and the columns METHOD, indexed by label.
        frame: a frame with a row for each run that should exist and each column that the run fills: PLACE and RUN.
        columns: the columns that runs fill, such as "base" and "new".
        datasets: the data sets; the training data set of the cross-data-set protocols comes first.
    """

    def __init__(
        self,
        experiment: Experiment,
        methods: Iterable[Mapping[str, Any]],
        rows: Iterable[Mapping[str, Any]],
        columns: Sequence[str],
        datasets: Sequence[str],
    ) -> None:
        self.experiment, self.columns, self.datasets = experiment, tuple(columns), tuple(datasets)
        self.methods = pd.DataFrame([{**METHOD, **method} for method in methods], columns=[*METHOD])
        self.methods = self.methods.astype({"trains": bool})
        self.methods.index = pd.Index(self.methods["label"], name=None)
        known = {tuple(row[name] for name in PLACE): row for row in rows}
        cells = [{**RUN, **known.get(place, {}), **dict(zip(PLACE, place))} for place in self._places()]
        self.frame = pd.DataFrame(cells, columns=[*PLACE, *RUN]).astype({"accuracy_pct": float})
        self.frame["finished"] = self.frame["accuracy_pct"].notna() | (self.frame["reason"] == NO_IMAGES)

    def _places(self) -> Iterator[tuple[str, str, str, int]]:
        for method in self.methods.itertuples():
            for dataset in self.datasets:
                for column in filter(functools.partial(self.has_column, method.label), self.columns):
                    yield from ((method.label, dataset, column, seed) for seed in method.seeds)

    def with_methods(
        self, methods: Iterable[Mapping[str, Any]], rows: Iterable[Mapping[str, Any]], columns: Sequence[str]
    ) -> Runs:
        """Return these runs together with the runs of further methods; `columns` are the columns of all methods."""
        rows = [*self.frame.to_dict("records"), *rows]
        return Runs(self.experiment, [*self.methods.to_dict("records"), *methods], rows, columns, self.datasets)

    def has_column(self, label: str, column: str) -> bool:
        """Return True if a method has results in a column: only zero-shot methods have results with 0 shots."""
        own_columns: tuple[str, ...] = self.methods.at[label, "columns"]
        if own_columns:
            return column in own_columns
        is_of_shots = column.isdigit()
        return column != BY_CLASS and not (is_of_shots and (column == "0") == self.methods.at[label, "trains"])

    def select(
        self, label: str | None = None, datasets: str | Sequence[str] | None = None, column: str | None = None
    ) -> pd.DataFrame:
        """Return the rows of a method, of data sets and of a column, each of which may be left out."""
        labels = [*self.methods["label"]] if label is None else [label]
        datasets = self.datasets if datasets is None else [datasets] if isinstance(datasets, str) else datasets
        columns = self.columns if column is None else [column]
        places = itertools.product(labels, datasets, columns)
        rows = [self._rows[place] for place in places if place in self._rows]
        return self.frame.iloc[np.concatenate(rows)] if rows else self.frame.iloc[:0]

    @functools.cached_property
    def _rows(self) -> Mapping[tuple[str, str, str], np.ndarray]:
        """The numbers of the rows of each method, data set and column."""
        rows: dict[Any, np.ndarray] = self.frame.groupby(["method", "dataset", "column"], sort=False).indices
        return rows

    @functools.cached_property
    def from_logs(self) -> set[tuple[str, str]]:
        """The pairs of method and data set with an accuracy that was read from a log file."""
        rows = self.frame[self.frame["result"].isna() & self.frame["accuracy_pct"].notna()]
        return {*zip(rows["method"], rows["dataset"])}

    def datasets_of(self, place: str) -> Sequence[str]:
        """Return the data sets of a table: the one of this name, or all data sets."""
        return [place] if place in self.datasets else self.datasets

    def seeds(self) -> pd.MultiIndex:
        """Return an index of all pairs of method and seed."""
        pairs = [(method.label, seed) for method in self.methods.itertuples() for seed in method.seeds]
        return pd.MultiIndex.from_tuples(pairs, names=["method", "seed"])

    def complete(self, label: str, dataset: str, column: str) -> pd.DataFrame | None:
        """Return the rows of all seeds, or None if a run has not finished or the runs cannot be averaged."""
        rows = self.select(label, dataset, column)
        return rows if len(rows) and rows["finished"].all() and not self.mixture(label, [dataset]) else None

    def in_groups(self) -> list[str]:
        """Return the labels of the methods in the order of the tables: sorted by group if there are several groups."""
        if not self.has_groups():
            return [*self.methods["label"]]
        order = [GROUPS.index(group) if group in GROUPS else len(GROUPS) for group in self.methods["group"]]
        return [label for _, label in sorted(zip(order, self.methods["label"]), key=lambda pair: pair[0])]

    def has_groups(self) -> bool:
        """Return True if the methods belong to several groups."""
        return len({*self.methods["group"]} - {""}) > 1

    def highlighted(self) -> str:
        """Return the label of the method that the report highlights: of a grid, the first variant; "" for none."""
        labels = self.methods["label"][self.methods["family"] == self.experiment.highlight]
        return next(iter(labels), "")

    def zero_shot(self) -> str:
        """Return the label of the first method without training, which is zero-shot CLIP; "" if there is none."""
        return next(iter(self.methods["label"][~self.methods["trains"]]), "")

    # ------------------------------------------------------------------ which runs may be averaged and compared

    @functools.cached_property
    def facts(self) -> pd.DataFrame:
        """What finished runs record about their CLIP model, split and images: a row for each run and fact."""
        rows = [
            (run.method, run.dataset, f"{run.column} seed {run.seed}", *fact)
            for run in self.frame.itertuples()
            if run.result
            for fact in _facts(run.dataset, run.seed, run.result)
        ]
        return pd.DataFrame(rows, columns=["method", "dataset", "run", *_FACT])

    @functools.cached_property
    def _mixed(self) -> set[tuple[str, ...]]:
        """The pairs of method and data set, and the methods, whose runs differ in a fact that they must share."""
        facts = self.facts.dropna(subset="of")
        places = []
        for names in (["method", "dataset"], ["method"]):
            values = facts.groupby([*names, "fact", "of", "version"], sort=False)["value"].nunique()
            places += [place[: len(names)] for place in values.index[values > 1]]
        return {*places}

    def mixture(self, label: str, datasets: Sequence[str], with_runs: bool = False) -> str:
        """Return why the runs of a method on some data sets cannot be averaged, or "" if they can.

        Args:
            label: the method.
            datasets: one data set or all data sets.
            with_runs: whether the text names the runs.
        """
        if ((label, datasets[0]) if len(datasets) == 1 else (label,)) not in self._mixed:
            return ""
        facts = self.facts[(self.facts["method"] == label) & self.facts["dataset"].isin(datasets)]
        runs = facts["run"] if len(datasets) == 1 else facts["dataset"]
        return _describe_mixture(facts.assign(run=runs), with_runs)

    def remark(self, label: str, datasets: Sequence[str], with_seeds: bool = True) -> str:
        """Return why the results of a method on some data sets differ from those of the other methods, or "".

        The remark names other seeds than those of the report, a selection on test images, images of new classes that
        the training used, numbers of shots of a file, and facts in which the runs of the method differ.
        """
        method = self.methods.loc[label]
        results = [result for result in self.select(label, datasets)["result"] if result]
        marks = {mark for result in results for mark in (mark_of(result), str(result.get(base_new.SEEN) or ""))}
        has_other_seeds = with_seeds and bool(method["trains"]) and method["seeds"] != tuple(self.experiment.seeds)
        shots = f"numbers of shots per class from {Path(method['shots_file']).name}"
        texts = [
            seeds_text(method["seeds"]) * has_other_seeds,
            *sorted(marks),
            method["remark"],
            shots * self._has_other_shots(label),
        ]
        return "; ".join(filter(None, [*texts, self.mixture(label, datasets)]))

    def _has_other_shots(self, label: str) -> bool:
        """Return True if a method has a file of shots, and another method has other shots in the same columns."""
        method = self.methods.loc[label]
        others = self.methods[self.methods["trains"] & (self.methods["shots_file"] != method["shots_file"])]
        apart = (names and method["columns"] and not {*names} & {*method["columns"]} for names in others["columns"])
        return bool(method["shots_file"]) and not all(apart)

    def differing_facts(self, one: str, other: str, datasets: Sequence[str]) -> list[str]:
        """Return the facts in which the runs of two methods differ, so that the methods cannot be compared."""
        facts = self.facts[self.facts["dataset"].isin(datasets)]
        names = []
        if tuple(datasets) not in self._uniform:
            own = facts[facts["method"].isin([one, other])]
            names = [*_mixed_facts(own)[["fact", "of"]].drop_duplicates().sum(axis=1)]
            names += _differing_images(own)
        first, second = self.methods.loc[one], self.methods.loc[other]
        if first["trains"] and second["trains"] and first["shots_file"] != second["shots_file"]:
            names.append("numbers of shots per class")
        return list(dict.fromkeys(names))

    @functools.cached_property
    def _uniform(self) -> set[tuple[str, ...]]:
        """The data sets, alone and together, on which the runs of all methods have the same facts."""
        groups: dict[tuple[str, ...], pd.DataFrame] = {
            (dataset,): self.facts[self.facts["dataset"] == dataset] for dataset in self.datasets
        }
        groups[self.datasets] = self.facts
        return {names for names, facts in groups.items() if _mixed_facts(facts).empty and not _differing_images(facts)}


def _differing_images(facts: pd.DataFrame) -> list[str]:
    """Return which images of runs with the same classes, shots and seed differ."""
    images = facts[facts["fact"].isin([IMAGES, FEW_SHOT])]
    values = images.groupby(["fact", "place", "version"], sort=False)["value"].nunique()
    return list(dict.fromkeys(fact for fact, _, _ in values.index[values > 1]))


def _facts(dataset: str, seed: int, result: Mapping[str, Any]) -> Iterator[tuple[Any, ...]]:
    """Yield the known facts of a result, each with the columns _FACT.

    Averaged runs must have equal values of a fact that has a text in `of`, and compared runs of a fact that has a text
    in `place`. Values of different versions are hashes of different rules, which cannot be compared.
    """
    split, settings = result.get("split") or {}, result.get("settings") or {}
    decoding = str((result.get("input") or {}).get(READ_AS, FAMILY))
    weights = str(result.get("backbone_hash") or "")
    images = str(result.get("images_hash") or result.get("split_hash") or "")
    if split and "active" in result:  # active learning selects among the images of the split
        images = str(split.get("hash"))
    selected = str(result.get("selected_on"))  # the hash includes validation images, which affect no accuracy
    selected = selected if selected in (HELD_OUT, WHOLE, AS_TRAINING) else ""
    drawn = str((result.get("few_shot") or {}).get("hash") or "").partition("/")[0]
    place = f"{dataset}, {result.get('classes')} classes, {result.get('shots')} shots, seed {seed}"
    facts = (
        (DECODING, f" of {dataset}", dataset, "", decoding),
        (IMAGES, None, place, f"{_version(images)}{selected}", images),
        (FEW_SHOT, None, place, "", f"{drawn} {split.get('hash')}" if drawn and split else ""),
        (WEIGHTS, "", settings.get("MODEL.BACKBONE.NAME", ""), _version(weights), weights),
        ("reader", f" of {dataset}", None, "", str(settings.get(READER, "modprompt's reader"))),
        ("split", f" of {dataset}", None, "", str(split.get("hash") or "")),
    )
    return (fact for fact in facts if fact[-1])


def _version(digest: str) -> str:
    """Return the version of the hash function; hashes of different versions cannot be compared."""
    return digest.partition(":")[0] if ":" in digest else ""


def _mixed_facts(facts: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of facts that averaged runs must share and that have several values."""
    shared = facts.dropna(subset="of")
    return shared[shared.groupby(["fact", "of", "version"], sort=False)["value"].transform("nunique") > 1]


def _describe_mixture(facts: pd.DataFrame, with_runs: bool) -> str:
    facts = _mixed_facts(facts)
    if facts.empty:
        return ""
    names, texts = [], []
    for (fact, of), rows in facts.groupby(["fact", "of"], sort=False):
        names.append(f"{fact}{of}")
        runs = rows.groupby("value", sort=False)["run"].unique()
        texts.append(" / ".join(f"{value[:14]}: {', '.join(of_value)}" for value, of_value in runs.items()))
    why = f"no mean because the runs differ in {' and '.join(names)}"
    return f"{why} ({'; '.join(texts)})" if with_runs else why


def find_mixture(results: Iterable[tuple[str, str, Mapping[str, Any]]]) -> str:
    """Return why results cannot be averaged, or "" if they can.

    Args:
        results: the data set, the name and the content of each result.
    """
    rows = [(name, *fact) for dataset, name, result in results for fact in _facts(dataset, 0, result)]
    return _describe_mixture(pd.DataFrame(rows, columns=["run", *_FACT]), with_runs=True)


def collect(
    experiment: Experiment,
    states: Iterable[tuple[Job, state.State]],
    out: Path | None = None,
    selected_on_test: bool = False,
) -> Runs:
    """Return the runs of an experiment. Runs that are stale, failed or running have no accuracy.

    Args:
        experiment: the experiment.
        states: the runs of the experiment and their states; none if all runs come from log files.
        out: the output folder.
        selected_on_test: whether results that were selected on test images have an accuracy, too.
    """
    methods = [
        {
            "label": method.label,
            "family": method.family,
            "seeds": method.seeds,
            "trains": method.trains,
            "published": method.published,
            "acquisition": method.acquisition,
            "columns": columns_of(method, experiment),
            "group": group_of(method.trainer, dict(method.options), method.earlier_method is not None),
            "shots_file": method.shots_file if method.trains else "",
        }
        for method in reported_methods(experiment)
    ]
    state_of = {job.folder: one for job, one in states}
    rows, first_stages = list[dict[str, Any]](), dict[tuple[str, ...], list[tuple[str, float | None]]]()
    for job in wanted(experiment) if state_of else ():
        if not job.fills_column or job.folder not in state_of:
            continue
        run, first = state_of[job.folder], state_of[job.first_stage.folder] if job.first_stage else None
        training = (job.method.family, job.dataset, job.column)
        if job.first_stage and first and job.first_stage.kind == SEARCH and not job.is_test:
            first_stages.setdefault(training, []).append((job.first_stage.folder, seconds(first.result, "training_s")))
        row: dict[str, Any] = {"reason": f"{run.name}{f': {run.why}' if run.why else ''}"}
        mark = "" if selected_on_test else mark_of(run.result or {})
        if run.name == state.FINISHED and mark:
            row = {"reason": f"{mark}; add --selected-on-test to show the result"}
        elif run.name == state.FINISHED:
            row = {
                "accuracy_pct": run.accuracy_pct,
                "reason": NO_IMAGES if run.accuracy_pct is None else "",
                "result": run.result,
                "folder": out / job.folder if out else None,
                "prompts_result": first.result if first and job.method.earlier_method else None,
                "notes": _notes(job, state_of),
            }
        for column, of_column in _by_column(job, row):
            place = dict(zip(PLACE, (job.method.label, job.dataset, column, job.seed)))
            rows.append({**row, **of_column, **place, "training": training})
    shares = {
        training: None if None in dict(stages).values() else sum(filter(None, dict(stages).values())) / len(stages)
        for training, stages in first_stages.items()
    }
    for row in rows:
        row["first_stage_s"] = shares.get(row.pop("training"), 0.0)
    datasets = (experiment.source,) * bool(experiment.source) + experiment.datasets
    return Runs(experiment, methods, rows, columns(experiment), datasets)


def _notes(job: Job, state_of: Mapping[str, state.State]) -> tuple[str, ...]:
    """Return the notes of a run and of its earlier stages on the same data set, each once."""
    stages = [
        stage for stage in (job, job.training, job.first_stage) if stage is not None and stage.dataset == job.dataset
    ]
    results = [state_of[stage.folder].result or {} for stage in stages if stage.folder in state_of]
    return tuple(dict.fromkeys(note for result in results for note in result.get("notes") or ()))


def _by_column(job: Job, row: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each column that a run fills, and what the row of this column changes.

    A test of base and new classes fills two columns, with the accuracies of the two halves of the classes.
    """
    names = {ALL: TOGETHER, APART: dict(zip(ALONE, ALONE))}.get(job.column)
    if names is None:
        yield job.column, {}
        return
    halves = (row.get("result") or {}).get(base_new.KEY if job.column == ALL else base_new.APART) or {}
    for half, column in names.items():
        accuracy = (halves.get(half) or {}).get("accuracy_pct")
        lacks = "" if accuracy is not None else "the result has no accuracy for this half of the classes"
        yield column, {"accuracy_pct": accuracy, "reason": row["reason"] or lacks}
