"""Choose a setting for each method of an experiment by validation images, and write what was chosen.

    modprompt experiment run demo_settings
    modprompt experiment choose demo_settings

FILE is an experiment file of protocol validation with a grid, or the name of one in configs/experiments; its `rule`
says how. Another experiment uses the settings in the written file by `chosen: FILE.json`.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

from modprompt import programs
from modprompt.errors import UserError
from modprompt.experiments.plan import arguments, chosen, spec
from modprompt.experiments.plan.experiment import (
    ALL_CLASSES,
    BASE,
    NO_COLLAPSE,
    OF_CONFIG,
    SMALLEST,
    VALIDATION,
    Experiment,
    Method,
)
from modprompt.experiments.plan.inputs import Inputs
from modprompt.experiments.plan.protocols import jobs
from modprompt.experiments.reporting import alike
from modprompt.experiments.reporting.results import Outcome, Results, of_experiment
from modprompt.experiments.running import state
from modprompt.io.images import TEST
from modprompt.io.same_run import CLIP, CLIP_FILES
from modprompt.io.settings import as_text, read_settings
from modprompt.version import __version__


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", help="experiment file of protocol validation, or its name in configs/experiments")
    arguments.add_out(parser)
    arguments.add_data(parser)
    parser.add_argument(
        "--to", type=Path, default=None, help="file to write (default: FILE.json next to the experiment file)"
    )
    return parser.parse_args(argv)


def lines(content: Mapping[str, Any]) -> list[str]:
    """What was chosen, as a Markdown table: accuracy of every try in percent, the chosen one in bold, and what was
    left out."""
    methods = content["methods"]
    first = next(iter(methods.values()))
    names = [", ".join(one["options"].values()) for one in first["tries"]]
    text = [f"| {' and '.join(content['grid'])} | {' | '.join(names)} |", f"|{' --- |' * (len(names) + 1)}"]
    none_left: list[str] = []
    ties: dict[str, list[str]] = {}
    for label, found in methods.items():
        left_out = found.get("left_out", [])
        none_left += [label] * (len(left_out) == len(found["tries"]))
        ties.setdefault(_tie(found, " and ".join(content["grid"])), []).append(label)
        cells = [f"{one['accuracy_pct']:.2f}{'†' if one['options'] in left_out else ''}" for one in found["tries"]]
        chosen_one = [one["options"] == found["options"] for one in found["tries"]]
        text.append(f"| {label} | {' | '.join(f'**{a}**' if b else a for a, b in zip(cells, chosen_one))} |")
    if any("†" in row for row in text[2:]):
        text += ["", f"†: a seed is more than {MOST_BELOW} points below zero-shot CLIP on a data set; left out."]
    if none_left:
        text += ["", f"{', '.join(none_left)}: no value is left; the smallest is used."]
    for tie, labels in ties.items():
        text += ["", f"{', '.join(labels)}: {tie}."] * bool(tie)
    return text


def _tie(found: Mapping[str, Any], keys: str) -> str:
    """Between which values of a method's grid its images do not choose, and which is used; empty if they do."""
    tried, options = found["tries"], found["options"]
    best = next(one["accuracy_pct"] for one in tried if one["options"] == options)
    left = [one for one in tried if one["options"] not in found.get("left_out", [])] or tried
    equal = [one for one in left if one["accuracy_pct"] == best]
    if len(equal) < 2:
        return ""
    images = sum(seeds[0][1] for seeds in tried[0]["by_dataset"].values())
    used = f"{', '.join(options.values())} is {'of its config' if found.get('of_config') else 'the smallest'}"
    if len(equal) < len(tried):
        return f"equal on {images:,} images: {'; '.join(', '.join(one['options'].values()) for one in equal)}; {used}"
    if best == 100:
        return f"{images:,} images, all right at every value: nothing to choose by; {used}"
    if all(one["by_dataset"] == tried[0]["by_dataset"] for one in tried):
        return f"each value gave the same on {images:,} images; {keys} may have no effect on it; {used}"
    return f"{images:,} images, as many right at every value: nothing to choose by; {used}"


def _main(argv: list[str] | None) -> None:
    args = parse(argv)
    path = spec.find(args.file)
    experiment = spec.read(path)
    states = state.of_all(jobs(experiment), args.out, Inputs(args.out, args.data))
    found = of_experiment(experiment, states, selected_on_test=True)  # choose refuses them by itself
    content = choose(experiment, found, args.file)
    to = args.to or path.with_suffix(".json")
    chosen.write(to, content)
    print("\n".join(lines(content)))
    print(f"Written to {to}")


def main(argv: list[str] | None = None) -> int:
    """Exit code: 0, or 2 after a message on what is wrong."""
    return programs.report(_main, argv)


MOST_BELOW = 5  # points that NO_COLLAPSE allows a run to be below zero-shot CLIP
_OF = "of the values of the grid the one with the highest accuracy on all validation images of {}, averaged over seeds "
_TIES = {SMALLEST: "the smallest", OF_CONFIG: "that of the method's config if it is among them, else the smallest"}
_LEFT_OUT = (
    f"; values at which a seed falls more than {MOST_BELOW} points below zero-shot CLIP on a data set's same images "
    "are left out; if none is left, the smallest"
)
_CLASSES = {BASE: "the base classes", ALL_CLASSES: "all classes"}


def in_words(experiment: Experiment) -> str:
    """The rule by which an experiment chooses."""
    of = _OF.format(_CLASSES[experiment.classes])
    left_out = _LEFT_OUT if experiment.rule == NO_COLLAPSE else ""
    return f"{of}and then over data sets; of equal ones {_TIES[experiment.ties]}{left_out}"


class Try(NamedTuple):
    """A value of the grid: settings, mean accuracy, by data set [correct, images] for each seed, and whether to keep it
    among equal ones as that of the config."""

    point: tuple[tuple[str, str], ...]
    mean: Fraction
    counts: dict[str, list[list[int]]]
    of_config: bool

    @property
    def size(self) -> tuple[float, ...]:
        """Its settings as numbers."""
        return tuple(float(value) for _, value in self.point)

    @property
    def rank(self) -> tuple[Any, ...]:
        """A key that is smallest for the best try."""
        return -self.mean, not self.of_config, self.size

    def collapses(self, zero: Mapping[str, list[int]]) -> bool:
        """Whether a seed falls too far below zero-shot CLIP on one data set, by [correct, images] of each."""
        least = {dataset: Fraction(*counts) - Fraction(MOST_BELOW, 100) for dataset, counts in zero.items()}
        return any(Fraction(*one) < least[dataset] for dataset, seeds in self.counts.items() for one in seeds)


def choose(experiment: Experiment, results: Results, file: str = "") -> dict[str, Any]:
    """What is chosen for each method that has a grid, with every try, as chosen.write accepts it.

    Args:
        experiment: of protocol validation.
        results: of all its runs.
        file: the experiment as commands find it; its name without.

    Raises:
        UserError: if methods differ in grids or seeds, values are not numbers, a run is missing, or rule no_collapse
            has no zero-shot CLIP to compare tries with.
    """
    families = _families(experiment)
    _require_all(experiment, results, file or experiment.name)
    _require_alike(families, results)
    zero = _zero_shot(experiment, results) if experiment.rule == NO_COLLAPSE else {}
    by_config = experiment.ties == OF_CONFIG
    tries = {label: [_try(method, results, by_config) for method in methods] for label, methods in families.items()}
    return {
        "rule": in_words(experiment),
        "experiment": experiment.name,
        "protocol": VALIDATION,
        "datasets": list(results.datasets),
        "shots": experiment.shots[0],
        "seeds": list(experiment.seeds),
        "grid": _grid(next(iter(families.values()))),
        **({"zero_shot": zero} if zero else {}),
        "methods": {label: _record(families[label][0], tries[label], zero, results) for label in families},
        "made_by": _made_by(results),
    }


def _families(experiment: Experiment) -> dict[str, list[Method]]:
    """The variants of each method that trains."""
    if experiment.protocol != VALIDATION:
        raise UserError(
            f"{experiment.name} has protocol {experiment.protocol}: settings are chosen by protocol {VALIDATION}"
        )
    families: dict[str, list[Method]] = {}
    for method in experiment.methods:
        if method.trains and method.point:
            families.setdefault(method.family, []).append(method)
    if not any(method.trains for method in experiment.methods):
        raise UserError(f"{experiment.name} has no method that trains: there is nothing to choose")
    if not families:
        raise UserError(f"{experiment.name} has no grid to choose from: grid: {{KEY: [VALUE, ...]}}")
    _require_stages(experiment, families)
    (first, of_first), *others = families.items()
    for label, methods in others:
        if [method.point for method in methods] != [method.point for method in of_first]:
            raise UserError(f"{experiment.name}: {first} and {label} have different grids: all need the same values")
        if methods[0].seeds != of_first[0].seeds:
            raise UserError(f"{experiment.name}: {first} and {label} have different seeds: all need the same")
    _require_numbers(experiment.name, of_first)
    return families


def _require_numbers(name: str, methods: Sequence[Method]) -> None:
    for key, value in (pair for method in methods for pair in method.point):
        if not _is_number(value):
            raise UserError(f"{name}: {key} {value!r} is not a number, so that no value is the smallest")


def _require_stages(experiment: Experiment, families: Mapping[str, list[Method]]) -> None:
    """Raise UserError if a method has no grid and is no other one's first stage."""
    fronts = {method.front.family for methods in families.values() for method in methods if method.front}
    for method in experiment.methods:
        if method.trains and method.family not in (*families, *fronts):
            raise UserError(f"{experiment.name}: {method.family} has no grid to choose from")


def _zero_shot(experiment: Experiment, results: Results) -> dict[str, list[int]]:
    """By data set, [correct, images] of the one zero-shot method."""
    lines = [line for line in results.lines if not line.trains]
    if len(lines) != 1:
        raise UserError(
            f"{experiment.name}: rule {NO_COLLAPSE} compares tries with one zero-shot method of the file (like CLIP in "
            f"demo_settings.yaml), but there are {len(lines)}"
        )
    found = {}
    for dataset in results.datasets:
        outcomes = list(results.outcomes(lines[0], dataset, VALIDATION).values())
        counts = [_counts(one) for one in outcomes]
        of_tries = [
            one for line in results.lines if line.trains for one in results.outcomes(line, dataset, VALIDATION).values()
        ]
        if len({_seen(one) for one in (*outcomes, *of_tries)}) > 1:
            raise UserError(
                f"{experiment.name}: on {dataset} {lines[0].label} and the tries differ in CLIP, split or "
                "number of images: nothing is chosen; move the older runs away and run them anew"
            )
        if any(one != counts[0] for one in counts):
            raise UserError(f"{experiment.name}: {lines[0].label} on {dataset} is not the same with each seed")
        found[dataset] = counts[0]
    return found


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _require_all(experiment: Experiment, results: Results, file: str) -> None:
    lacking = [
        f"{line.label}, {dataset}, seed {seed}: {outcome.reason}"
        for line, dataset, _, seed, outcome in results.all()
        if outcome.result is None and (line.trains or experiment.rule == NO_COLLAPSE)
    ]
    if lacking:
        count = f"{len(lacking)} of its measurements are missing" if len(lacking) > 1 else "a measurement is missing"
        how = f"`modprompt experiment run {file}` continues"
        raise UserError(f"{experiment.name}: {count} ({lacking[0]}), and nothing is chosen from incomplete runs: {how}")


def _require_alike(families: Mapping[str, Sequence[Method]], results: Results) -> None:
    """Raise UserError if runs whose means are compared cannot be averaged."""
    for label, methods in families.items():
        labels = {method.label for method in methods}
        runs = (
            (dataset, f"{dataset} seed {seed}", outcome.result)
            for line, dataset, _, seed, outcome in results.all()
            if line.label in labels and outcome.result
        )
        why = alike.in_words(alike.parted(runs, results.odd))
        if why:
            raise UserError(f"{label}: {why}: nothing is chosen; move the older runs away and run them anew")


def _counts(outcome: Outcome) -> list[int]:
    result = outcome.result or {}
    if result.get("tested_on") != "val" or result.get("selected_on") == TEST:
        raise UserError(f"{result.get('dataset')} has no validation images: nothing is chosen on test images")
    return [int(result["correct"]), int(result["images"])]


def _seen(outcome: Outcome) -> tuple[str, ...]:
    """The CLIP and images of a measurement."""
    result = outcome.result or {}
    split = str(alike.split_facts(result).get("hash", ""))
    return str(result.get("backbone_hash")), split, str(result.get("images"))


def _is_of_config(method: Method) -> bool:
    """Whether a point of a grid is what the method's config says."""
    written = {key: as_text(value) for key, value in read_settings(str(method.config)).items()}
    return all(_is_number(written.get(key, "")) and float(written[key]) == float(text) for key, text in method.point)


def _try(method: Method, results: Results, by_config: bool) -> Try:
    line = next(line for line in results.lines if line.label == method.label)
    counts = {
        dataset: [_counts(outcome) for outcome in results.outcomes(line, dataset, VALIDATION).values()]
        for dataset in results.datasets
    }
    means = [sum((Fraction(*one) for one in of_seeds), Fraction()) / len(of_seeds) for of_seeds in counts.values()]
    mean = sum(means, Fraction()) / len(means)
    return Try(method.point, mean, counts, by_config and _is_of_config(method))


def _record(method: Method, tries: Sequence[Try], zero: Mapping[str, list[int]], results: Results) -> dict[str, Any]:
    axes = dict(method.point)
    left_out = [one for one in tries if zero and one.collapses(zero)]
    kept = [one for one in tries if one not in left_out]
    best = min(kept, key=lambda one: one.rank) if kept else min(tries, key=lambda one: one.size)
    options = {key: text for key, text in method.options if key not in axes}
    return {
        **chosen.identity(method.trainer, method.config, options, axes),
        "weights": _weights(method, results),
        "first": method.first,
        "options": dict(best.point),
        **({"of_config": True} if best.of_config else {}),
        **({"left_out": [dict(one.point) for one in left_out]} if zero else {}),
        "tries": [
            {"options": dict(one.point), "accuracy_pct": round(float(100 * one.mean), 4), "by_dataset": one.counts}
            for one in tries
        ],
    }


def _weights(method: Method, results: Results) -> dict[str, Any]:
    """The fingerprint of the CLIP of a method's runs, and what its files looked like."""
    found = (outcome.result for *_, outcome in results.all() if outcome.result)
    own: dict[str, Any] = next((one for one in found if one.get("trainer") == method.trainer), {})
    return {"hash": own.get("backbone_hash", ""), "seen": (own.get(CLIP_FILES) or {}).get(CLIP)}


def _grid(methods: Sequence[Method]) -> dict[str, list[str]]:
    grid: dict[str, list[str]] = {}
    for key, value in (pair for method in methods for pair in method.point):
        if value not in grid.setdefault(key, []):
            grid[key].append(value)
    return grid


def _made_by(results: Results) -> dict[str, Any]:
    """What runs record: PyTorch and device, CLIP and splits, each once."""
    found = [outcome.result for _, _, _, _, outcome in results.all() if outcome.result]
    machines = {f"PyTorch {(one.get('versions') or {}).get('torch', 'unknown')}, {one.get('device')}" for one in found}
    splits = {str(one.get("dataset")): str(alike.split_facts(one).get("hash", "")) for one in found}
    return {
        "modprompt": __version__,
        "runs": len(found),
        "machines": sorted(machines),
        "clips": sorted({str(one.get("backbone_hash")) for one in found}),
        "splits": dict(sorted(splits.items())),
    }
