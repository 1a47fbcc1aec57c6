"""What came of an experiment's runs, and of runs in other codebases' trees, as one set of numbers by method."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Iterable, Iterator, NamedTuple, Sequence

from modprompt.errors import UserError
from modprompt.experiments.plan.experiment import CROSS, Experiment
from modprompt.experiments.plan.kinds import trains
from modprompt.experiments.plan.protocols import Job, columns, columns_of, wanted
from modprompt.experiments.reporting import trees
from modprompt.experiments.reporting.logs import read_run
from modprompt.experiments.running import state

UNTESTED = "no test images"


class Outcome(NamedTuple):
    """Accuracy of a run in percent, or None and the reason why there is none.

    result: what its result.json holds, where there is one.
    folder: the run's, of which more can be read; None where nobody knows it.
    """

    accuracy_pct: float | None
    reason: str = ""
    result: dict[str, Any] | None = None
    folder: Path | None = None


class Line(NamedTuple):
    """A method of the report.

    label: what tables call it.
    family: what variants of a grid share.
    seeds: those that every number of it must have.
    point: its place in a grid.
    published: its row in published.yaml.
    trains: whether it trains anything.
    acquisition: what chooses its labels in protocol active; see Method.
    columns: those that it is asked for; empty where Results knows.
    """

    label: str
    family: str
    seeds: tuple[int, ...]
    point: tuple[tuple[str, str], ...] = ()
    published: str = ""
    trains: bool = True
    acquisition: str = ""
    columns: tuple[str, ...] = ()

    @property
    def panel(self) -> str:
        """The method alone, whose acquisitions are drawn together."""
        return self.label.removesuffix(f" {self.acquisition}") if self.acquisition else self.label


class Results:
    """Outcomes by method, data set, column and seed.

    Args:
        lines: the methods, in order.
        columns: the columns that runs fill.
        datasets: in order; the source of the cross protocols stands first.

    `searches` has by family, data set and column of two-stage methods their trainings, and their searches' states.
    """

    def __init__(self, lines: Iterable[Line], columns: Sequence[str], datasets: Sequence[str]):
        self.lines, self.columns, self.datasets = list(lines), tuple(columns), tuple(datasets)
        self._outcomes: dict[tuple[str, str, str], dict[int, Outcome]] = {}
        self.searches: dict[tuple[str, str, str], tuple[list[Job], list[tuple[Job, state.State]]]] = {}

    def add(self, label: str, dataset: str, column: str, seed: int, outcome: Outcome) -> None:
        """Enter a run's outcome."""
        self._outcomes.setdefault((label, dataset, column), {})[seed] = outcome

    def add_search(self, training: Job, search: tuple[Job, state.State]) -> None:
        """Enter how the search of a training stands; one that serves many trainings is entered once."""
        place = (training.method.family, training.dataset, training.column)
        trainings, searches = self.searches.setdefault(place, ([], []))
        trainings.append(training)
        if all(search[0].folder != job.folder for job, _ in searches):
            searches.append(search)

    def outcomes(self, line: Line, dataset: str, column: str) -> dict[int, Outcome]:
        """Outcomes by seed: one for each seed of the method."""
        found = self._outcomes.get((line.label, dataset, column), {})
        return {seed: found.get(seed, Outcome(None, "missing")) for seed in line.seeds}

    def is_asked(self, line: Line, column: str) -> bool:
        """Whether a method has a number in a column: 0 shots are for methods that train nothing, others are not."""
        if line.columns:
            return column in line.columns
        return not (column.isdigit() and (column == "0") == line.trains)

    def values(self, line: Line, dataset: str, column: str) -> list[float] | None:
        """Accuracies in percent of all seeds, or None if one is lacking."""
        numbers = [outcome.accuracy_pct for outcome in self.outcomes(line, dataset, column).values()]
        known = [number for number in numbers if number is not None]
        return known if known and len(known) == len(numbers) else None

    def all(self) -> Iterator[tuple[Line, str, str, int, Outcome]]:
        """(line, data set, column, seed, outcome) of every run that there should be."""
        for line in self.lines:
            for dataset in self.datasets:
                for column in self.columns:
                    if self.is_asked(line, column):
                        for seed, outcome in self.outcomes(line, dataset, column).items():
                            yield line, dataset, column, seed, outcome


def of_experiment(
    experiment: Experiment,
    states: Iterable[tuple[Job, state.State]],
    out: Path | None = None,
    marked: bool = False,
) -> Results:
    """The results of an experiment's runs; what is stale, failed or running has no number.

    Args:
        experiment: what was to be run.
        states: its runs and how they stand.
        out: the output folder, by which more is read of finished runs than their results.
        marked: whether results that were chosen beyond the project's rule count, too.
    """
    lines = [
        Line(
            method.label,
            method.family,
            method.seeds,
            method.point,
            method.published,
            method.trains,
            method.acquisition,
            columns_of(method, experiment),
        )
        for method in experiment.lines
    ]
    datasets = (experiment.source,) * bool(experiment.source) + experiment.datasets
    results = Results(lines, columns(experiment), datasets)
    stood = {job.folder: (job, stands) for job, stands in states}
    for job in wanted(experiment) if stood else ():
        if job.searches or job.folder not in stood:
            continue
        _, stands = stood[job.folder]
        if job.search and not job.tests:
            results.add_search(job, stood[job.search.folder])
        if stands.name == state.FINISHED:
            why = UNTESTED if stands.accuracy_pct is None else ""
            outcome = Outcome(stands.accuracy_pct, why, stands.result, out / job.folder if out else None)
            mark = (stands.result or {}).get("marked")
            if mark and not marked:
                outcome = Outcome(None, f"{mark}: --marked shows it")
        else:
            outcome = Outcome(None, f"{stands.name}{f': {stands.why}' if stands.why else ''}")
        results.add(job.method.label, job.dataset, job.column, job.seed, outcome)
    return results


def _outcome_of_log(folder: Path) -> Outcome:
    found = read_run(folder)
    return Outcome(found.accuracy_pct, found.reason)


def add_tree(results: Results, experiment: Experiment, root: Path, label: str) -> None:
    """Add the methods of another output tree, read from its log files.

    Args:
        results: what they are added to.
        experiment: whose protocol, shots and data sets they must have.
        root: the tree's output folder.
        label: stands behind the methods' names.

    Raises:
        UserError: if there is no such folder, or no run of that kind in it.
    """
    if not root.is_dir():
        raise UserError(f"--with: there is no folder {root}")
    runs = trees.discover(root, experiment.protocol, experiment.source)
    runs = [run for run in runs if run.dataset in results.datasets]
    if experiment.protocol != "few_shot":
        runs = [run for run in runs if run.shots in (*experiment.shots, 0)]
    if "0" not in results.columns and any(run.column == "0" for run in runs):
        results.columns = ("0", *results.columns)  # its zero-shot runs have a column of their own
    runs = [run for run in runs if run.column in results.columns]
    if not runs:
        raise UserError(f"--with: {root} has no {experiment.protocol} run of these data sets and shots")
    for (trainer, config), own in _by_method(runs).items():
        alone = sum(run_trainer == trainer for run_trainer, _ in _by_method(runs)) == 1
        name = f"{trainer} ({label})" if alone else f"{trainer} {config} ({label})"
        if name in {line.label for line in results.lines}:
            raise UserError(f"--with: there is a method {name!r} already; call the folders' runs LABEL=FOLDER")
        learns = trains(trainer)
        seeds = experiment.seeds if learns else tuple(sorted({run.seed for run in own}))
        results.lines.append(Line(name, name, seeds, trains=learns))
        for run in own:
            results.add(name, run.dataset, run.column, run.seed, _outcome_of_log(run.folder))


def _by_method(runs: Sequence[trees.Found]) -> dict[tuple[str, str], list[trees.Found]]:
    methods: dict[tuple[str, str], list[trees.Found]] = {}
    for run in runs:
        methods.setdefault((run.trainer, run.config), []).append(run)
    return methods


def experiment_of_tree(root: Path, protocol: str, seeds: tuple[int, ...], shots: tuple[int, ...]) -> Experiment:
    """An experiment without methods of its own: the data sets that a tree has, and seeds and shots unless given.

    Raises:
        UserError: if the tree has no run of the protocol.
    """
    runs = trees.discover(root, protocol)
    if not runs:
        raise UserError(f"no {protocol} run below {root}: expected folders of the family's scripts with log.txt files")
    datasets = sorted({run.dataset for run in runs})
    source = "imagenet" if protocol in CROSS else ""
    datasets = [name for name in datasets if name != source]
    found = tuple(sorted({run.shots for run in runs if run.shots})) or (16,)
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
        slurm={},
    )


def _images(result: dict[str, Any]) -> str:
    """A hash of the images that a run was given; with rounds it has chosen among them, so that the split says it."""
    split = result.get("split")
    if "active" in result and isinstance(split, dict):
        return str(split.get("hash"))
    return str(result.get("images_hash") or result.get("split_hash"))


def _rule(digest: str) -> str:
    """What tells hashes of one rule from those of another, which cannot be compared."""
    return digest.partition(":")[0] if ":" in digest else ""


def warnings(results: Results) -> list[str]:
    """Numbers that do not belong together: other images of one data set, half, seed and shots, or another CLIP."""
    found: dict[tuple[Any, ...], dict[str, list[str]]] = {}
    for line, dataset, _, seed, outcome in results.all():
        if outcome.result is None:
            continue
        half, shots = (str(outcome.result.get(key)) for key in ("classes", "shots"))
        images = _images(outcome.result)
        weights, clip = str(outcome.result.get("backbone_hash")), outcome.result.get("settings", {})
        for key, value in (
            (("images", dataset, half, shots, seed, _rule(images)), images),
            (("weights", str(clip.get("MODEL.BACKBONE.NAME", "")), _rule(weights)), weights),
        ):
            found.setdefault(key, {}).setdefault(value, []).append(line.label)
    texts = []
    for (what, *where, _), hashes in found.items():
        if len(hashes) > 1:
            methods = " / ".join(", ".join(dict.fromkeys(labels)) for labels in hashes.values())
            place = " ".join(str(word) for word in where if word)
            texts.append(f"not comparable, made with different {what} ({place}): {methods}")
    return texts


def clips(results: Results) -> list[str]:
    """The CLIPs that numbers were made with, a line each: what each is, how it is run, and which methods have it."""
    found: dict[str, list[str]] = {}
    for line, _, _, _, outcome in results.all():
        clip = (outcome.result or {}).get("clip")
        if isinstance(clip, dict) and clip.get("fingerprint"):
            found.setdefault(_clip_line(clip), []).append(line.label)
    everybody = {line.label for line in results.lines}
    return [
        text if set(labels) == everybody else f"{text}: {', '.join(dict.fromkeys(labels))}"
        for text, labels in found.items()
    ]


def _clip_line(clip: dict[str, Any]) -> str:
    heads = clip.get("heads")
    how = [str(clip.get("dialect") or ""), str(clip.get("activation") or "")]
    how += [f"{' and '.join(map(str, heads))} heads"] if isinstance(heads, list) else []
    commit = str(clip.get("commit") or "")
    name = str(clip.get("file") or clip.get("name") or "a CLIP without a name")
    pinned = f"@{commit}" if commit and commit not in name else ""
    return f"{name}{pinned} ({', '.join(filter(None, [*how, str(clip['fingerprint'])]))})"
