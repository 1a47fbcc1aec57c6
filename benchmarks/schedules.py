"""Compare schedules that a search finds with other schedules, on digits and with the bundled CLIP.

    python -m benchmarks.schedules OUT                     digits and mnist5k, seeds 1 2 3, ten random schedules each
    python -m benchmarks.schedules OUT --random 2 --seeds 1 --datasets digits

The program trains with 16 shots on all classes: MaPLe; MPL with its default schedule, with the schedule of its search
and with random schedules that add as many tokens on each side; and DPL with its search. Each search has the seed of its
training and uses validation images, never test images. The program prints the accuracies (mean and standard deviation
over seeds), the accuracies of the searches, and the seconds. If OUT exists, finished runs in OUT are not repeated.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from modprompt import places
from modprompt.engine.schedule import Schedule
from modprompt.experiments.plan import file as experiment_file
from modprompt.experiments.plan import protocols
from modprompt.experiments.plan.experiment import Job
from modprompt.experiments.running import run
from modprompt.io.result import read
from modprompt.io.settings import BASE
from modprompt.methods.search import file as schedule_file

SHOTS = 16
RATE = 0.02  # learning rate of the alphas: at 0.0035 they hardly move from their random start in some hundred steps
SEARCH = {"trainer": "MPL", "config": "glyph", "options": {"SEARCH.ON": True, "SEARCH.ALPHA_LR": RATE}}
METHODS: dict[str, dict[str, Any]] = {
    "CLIP": {"trainer": "ZeroshotCLIP", "config": "glyph"},
    "MaPLe": {"trainer": "MaPLe", "config": "glyph"},
    "MPL": {"trainer": "MPL", "config": "glyph"},
    "MPL searched": {"trainer": "MPL", "config": "glyph", "search": SEARCH},
    "DPL": {"trainer": "DPL", "config": "glyph", "search": {"trainer": "DPLSearch", "config": "glyph"}},
}


class Found(NamedTuple):
    """A finished run and what its result says."""

    job: Job
    result: dict[str, Any]


def random_schedule(rng: random.Random, found: Schedule) -> Schedule:
    """Another schedule that adds as many tokens: each in a random layer, layer 0 unchanged; with any removals."""
    added = [0] * len(found)
    for _ in range(sum(step.add for step in found[1:])):
        added[rng.randrange(1, len(found))] += 1
    steps, present = [(0, found[0].add)], found[0].add
    for add in added[1:]:
        remove = rng.randint(0, present)
        steps.append((remove, add))
        present += add - remove
    return Schedule(steps, found.side, found.place)


def experiment(out: Path, name: str, methods: dict[str, Any], datasets: Sequence[str], seeds: Sequence[int]) -> Path:
    """An experiment file in the output folder."""
    path = out / f"{name}.yaml"
    content = {"protocol": "few_shot", "datasets": list(datasets), "shots": [SHOTS], "seeds": list(seeds)}
    text = yaml.safe_dump({"title": name, **content, "methods": methods}, sort_keys=False)
    path.write_text(text, encoding="utf-8")
    return path


def run_all(path: Path, out: Path, data: Path, jobs: int) -> list[Found]:
    """Run an experiment; its finished runs."""
    code = run.main([str(path), "--out", str(out), "--data", str(data), "--jobs", str(jobs)])
    if code:
        raise SystemExit(code)
    found = ((job, read(out / job.folder).result) for job in protocols.jobs(experiment_file.read(path)))
    return [Found(job, result) for job, result in found if result]


def random_methods(out: Path, search: Found, count: int) -> dict[str, Any]:
    """Methods with random schedules, each with its own config."""
    sides = schedule_file.read(out / search.job.folder / schedule_file.FILE_NAME)
    base = str(places.configs() / "trainers" / "MPL" / "glyph.yaml")
    methods = {}
    for number in range(1, count + 1):
        rng = random.Random(f"{search.job.dataset} {search.job.seed} {number}")
        drawn = {side: random_schedule(rng, Schedule(one.steps, side, one.place)) for side, one in sides.items()}
        pairs = {f"SCHEDULE_{side.upper()}": [list(step) for step in schedule] for side, schedule in drawn.items()}
        config = {BASE: base, "TRAINER": {"MPL": pairs}}
        name = f"random_{search.job.dataset}_{search.job.seed}_{number}"
        (out / "configs" / f"{name}.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
        methods[name] = {"trainer": "MPL", "config": f"configs/{name}.yaml", "seeds": [search.job.seed]}
    return methods


def spread(values: Sequence[float]) -> str:
    """Mean and standard deviation."""
    return f"{statistics.mean(values):.2f} +- {statistics.pstdev(values):.2f}" if values else "-"


def accuracies(found: Sequence[Found], label: str) -> list[float]:
    """Accuracies of a method's trainings, or of its tests if it trains nothing."""
    return [one.result["accuracy_pct"] for one in found if one.job.method.label == label and one.job.kind != "search"]


def lines(dataset: str, found: Sequence[Found], drawn: Sequence[Found]) -> Iterator[str]:
    """The table of a data set."""
    yield f"{dataset}: accuracy in percent over all classes, {SHOTS} shots"
    for label, method in METHODS.items():
        yield f"  {label:<44}{spread(accuracies(found, label))}"
        if "search" in method:
            searches = [
                one.result for one in found if one.job.kind == "search" and one.job.title.startswith(f"{label},")
            ]
            trained = [one.result for one in found if one.job.method.label == label and one.job.kind != "search"]
            for name, key in (
                ("during the search (mixture of options)", "mixture_pct"),
                ("found schedule, prompts of the search", "path_pct"),
            ):
                yield f"    {name:<42}{spread([one['search'][key] for one in searches])}"
            cost = [one["elapsed_s"] for one in searches], [one["elapsed_s"] for one in trained]
            yield f"    {'seconds of search and training':<42}{spread(cost[0])}, {spread(cost[1])}"
    values = [one.result["accuracy_pct"] for one in drawn]
    yield f"  {f'MPL, {len(drawn)} random schedules':<44}{spread(values)}"
    if values:
        yield f"    {'worst and best':<42}{min(values):.2f}, {max(values):.2f}"
        below = statistics.mean(
            value < best
            for best, seed in zip(accuracies(found, "MPL searched"), _seeds(found))
            for value in (one.result["accuracy_pct"] for one in drawn if one.job.seed == seed)
        )
        yield f"    {'share below the searched schedule':<42}{100 * below:.0f}%"


def _seeds(found: Sequence[Found]) -> list[int]:
    return [one.job.seed for one in found if one.job.method.label == "MPL searched" and one.job.kind != "search"]


def main(argv: list[str] | None = None) -> int:
    """Run what is not finished, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="the output folder")
    parser.add_argument("--data", type=Path, default=Path("data"), help="folder of the data sets (default: data)")
    parser.add_argument(
        "--datasets", nargs="+", default=["digits", "mnist5k"], help="data sets (default: digits mnist5k)"
    )
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3], help="seeds (default: 1 2 3)")
    parser.add_argument("--random", type=int, default=10, help="random schedules per data set and seed (default: 10)")
    parser.add_argument("--jobs", type=int, default=2, help="number of parallel runs (default: 2)")
    args = parser.parse_args(argv)
    out, data = args.out.absolute(), args.data.absolute()
    (out / "configs").mkdir(parents=True, exist_ok=True)
    found = run_all(experiment(out, "searched", METHODS, args.datasets, args.seeds), out, data, args.jobs)
    for dataset in args.datasets:
        mine = [one for one in found if one.job.dataset == dataset]
        searches = [one for one in mine if one.job.kind == "search" and one.job.title.startswith("MPL searched,")]
        methods = {key: value for one in searches for key, value in random_methods(out, one, args.random).items()}
        drawn: list[Found] = []
        if methods:
            file = experiment(out, f"random_{dataset}", methods, [dataset], args.seeds)
            drawn = run_all(file, out, data, args.jobs)
        print("\n".join(lines(dataset, mine, drawn)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
