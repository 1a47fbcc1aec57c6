"""Choose a setting for each method of an experiment by validation images, and write what was chosen.

    modprompt experiment run demo_settings
    modprompt experiment choose demo_settings

FILE is an experiment file of protocol validation with a grid, or the name of one in configs/experiments; its `rule`
says how, its `ties` which of equal values. Another experiment uses the settings in the written file by
`chosen: FILE.json`.
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
from modprompt.experiments.plan.experiment import NO_COLLAPSE, OF_CONFIG, VALIDATION, Experiment, Job, Method
from modprompt.experiments.plan.inputs import Inputs
from modprompt.experiments.plan.protocols import jobs, wanted
from modprompt.experiments.reporting import alike
from modprompt.experiments.running import state
from modprompt.io.images import TEST
from modprompt.io.same_run import CLIP, CLIP_FILES
from modprompt.io.settings import as_text, read_settings
from modprompt.version import __version__

MOST_BELOW = 5  # points that NO_COLLAPSE allows a run to be below zero-shot CLIP
_Counts = dict[str, list[list[int]]]  # by data set, [correct, images] of each seed
_Run = tuple[Job, dict[str, Any]]  # with its result


def _main(argv: list[str] | None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", help="experiment file of protocol validation, or its name in configs/experiments")
    arguments.add_out(parser)
    arguments.add_data(parser)
    parser.add_argument("--to", type=Path, help="file to write (default: FILE.json next to the experiment file)")
    args = parser.parse_args(argv)
    path = spec.find(args.file)
    experiment = spec.read(path)
    content = choose(experiment, state.of_all(jobs(experiment), args.out, Inputs(args.out, args.data)), args.file)
    to = args.to or path.with_suffix(".json")
    chosen.write(to, content)
    print("\n".join(lines(content)))
    print(f"Written to {to}")


def main(argv: list[str] | None = None) -> int:
    """Exit code: 0, or 2 after a message on what is wrong."""
    return programs.report(_main, argv)


def lines(content: Mapping[str, Any]) -> list[str]:
    """What was chosen, as a Markdown table: accuracy of every try in percent, the chosen one in bold; then remarks."""
    keys, methods = " and ".join(content["grid"]), content["methods"]
    names = [", ".join(one["options"].values()) for one in next(iter(methods.values()))["tries"]]
    text = [f"| {keys} | {' | '.join(names)} |", f"|{' --- |' * (len(names) + 1)}"]
    remarks: dict[str, list[str]] = {}
    for label, found in methods.items():
        left_out = found.get("left_out", [])
        cells = [f"{one['accuracy_pct']:.2f}{'†' * (one['options'] in left_out)}" for one in found["tries"]]
        bold = ["**" * (one["options"] == found["options"]) for one in found["tries"]]
        text.append(f"| {label} | {' | '.join(f'{b}{cell}{b}' for b, cell in zip(bold, cells))} |")
        none_left = "no value is left; the smallest is used" * (len(left_out) == len(found["tries"]))
        for remark in filter(None, (none_left, _tie(found, keys))):
            remarks.setdefault(remark, []).append(label)
    if any("†" in row for row in text):
        text += ["", f"†: a seed is more than {MOST_BELOW} points below zero-shot CLIP on a data set; left out."]
    for remark, labels in remarks.items():
        text += ["", f"{', '.join(labels)}: {remark}."]
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
    if any(one["by_dataset"] != tried[0]["by_dataset"] for one in tried):
        return f"equal on {images:,} images: {'; '.join(', '.join(one['options'].values()) for one in equal)}; {used}"
    if best == 100:
        return f"{images:,} images, all right at every value: nothing to choose by; {used}"
    return f"each value gave the same on {images:,} images; {keys} may have no effect on it; {used}"


def in_words(experiment: Experiment) -> str:
    """The rule by which an experiment chooses."""
    of = "all classes" if experiment.classes == "all" else "the base classes"
    ties = "that of the method's config if it is among them, else " if experiment.ties == OF_CONFIG else ""
    rule = (
        f"of the values of the grid the one with the highest accuracy on all validation images of {of}, averaged over "
        f"seeds and then over data sets; of equal ones {ties}the smallest"
    )
    if experiment.rule != NO_COLLAPSE:
        return rule
    return (
        f"{rule}; values at which a seed falls more than {MOST_BELOW} points below zero-shot CLIP on a data set's same "
        "images are left out; if none is left, the smallest"
    )


class Try(NamedTuple):
    """A value of the grid, with its accuracy."""

    point: dict[str, str]  # its settings
    size: tuple[float, ...]  # these as numbers
    mean: Fraction  # over seeds, then over data sets
    counts: _Counts
    of_config: bool  # whether it is the config's, to be kept among equal ones
    collapses: bool  # whether a seed falls too far below zero-shot CLIP on a data set


def choose(experiment: Experiment, states: Sequence[tuple[Job, state.State]], file: str = "") -> dict[str, Any]:
    """What is chosen for each method that has a grid, with every try, as chosen.write accepts it.

    Args:
        experiment: of protocol validation.
        states: of all its runs.
        file: the experiment as commands find it; its name without.

    Raises:
        UserError: if methods differ in grids or seeds, values are not numbers, a run is missing, or rule no_collapse
            has no zero-shot CLIP to compare tries with.
    """
    families, with_zero = _families(experiment), experiment.rule == NO_COLLAPSE
    runs = _runs(experiment, states, file or experiment.name, with_zero)
    _require_alike(runs, experiment.name if with_zero else "")
    counts: dict[str, _Counts] = {}
    for job, result in runs:
        counts.setdefault(job.method.label, {}).setdefault(job.dataset, []).append(_count(result))
    zero = {dataset: seeds[0] for dataset, seeds in counts[_zero_shot(experiment)].items()} if with_zero else {}
    grid: dict[str, dict[str, None]] = {}
    for key, value in (pair for method in next(iter(families.values())) for pair in method.point):
        grid.setdefault(key, {})[value] = None
    chosen_of = {label: _record(methods, counts, zero, experiment.ties) for label, methods in families.items()}
    for label, record in chosen_of.items():
        result = next(result for job, result in runs if job.method.family == label)
        seen = (result.get(CLIP_FILES) or {}).get(CLIP)
        record["weights"] = {"hash": result.get("backbone_hash", ""), "seen": seen}
    return {
        "rule": in_words(experiment),
        "experiment": experiment.name,
        "protocol": VALIDATION,
        "datasets": list(experiment.datasets),
        "shots": experiment.shots[0],
        "seeds": list(experiment.seeds),
        "grid": {key: list(values) for key, values in grid.items()},
        **({"zero_shot": zero} if zero else {}),
        "methods": chosen_of,
        "made_by": {
            "modprompt": __version__,
            "runs": len(runs),
            "machines": sorted({_machine(one) for _, one in runs}),
            "clips": sorted({str(one.get("backbone_hash")) for _, one in runs}),
            "splits": {job.dataset: str(alike.split_facts(one).get("hash", "")) for job, one in runs},
        },
    }


def _machine(result: Mapping[str, Any]) -> str:
    return f"PyTorch {(result.get('versions') or {}).get('torch', 'unknown')}, {result.get('device')}"


def _families(experiment: Experiment) -> dict[str, list[Method]]:
    """The variants of each method that has a grid."""
    name = experiment.name
    if experiment.protocol != VALIDATION:
        raise UserError(f"{name} has protocol {experiment.protocol}: settings are chosen by protocol {VALIDATION}")
    families: dict[str, list[Method]] = {}
    for method in experiment.methods:
        if method.trains and method.point:
            families.setdefault(method.family, []).append(method)
    fronts = {method.front.family for methods in families.values() for method in methods if method.front}
    without = [one.family for one in experiment.methods if one.trains and one.family not in (*families, *fronts)]
    if without or not families:
        whose = f"{', '.join(without)} has no" if without else "no method has a"
        raise UserError(f"{name}: {whose} grid to choose from: grid: {{KEY: [VALUE, ...]}}")
    (first, of_first), *others = families.items()
    for label, methods in others:
        if [(one.point, one.seeds) for one in methods] != [(one.point, one.seeds) for one in of_first]:
            raise UserError(f"{name}: {first} and {label} have different grids or seeds: all need the same")
    for key, value in (pair for method in of_first for pair in method.point):
        if not _is_number(value):
            raise UserError(f"{name}: {key} {value!r} is not a number, so that no value is the smallest")
    return families


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _runs(experiment: Experiment, states: Sequence[tuple[Job, state.State]], file: str, with_zero: bool) -> list[_Run]:
    """The runs that measure, all finished; those of methods that train nothing only if they are needed."""
    stood = {job.folder: stands for job, stands in states}
    jobs = [one for one in wanted(experiment) if one.column == VALIDATION and (one.method.trains or with_zero)]
    runs = [(job, stood[job.folder].result or {}) for job in jobs]
    lacking = [job for job in jobs if stood[job.folder].name != state.FINISHED]
    if lacking:
        job, stands = lacking[0], stood[lacking[0].folder]
        why = f"{job.method.label}, {job.dataset}, seed {job.seed}: {': '.join(filter(None, stands[:2]))}"
        count = f"{len(lacking)} of its measurements are missing" if len(lacking) > 1 else "a measurement is missing"
        how = f"`modprompt experiment run {file}` continues"
        raise UserError(f"{experiment.name}: {count} ({why}), and nothing is chosen from incomplete runs: {how}")
    return runs


def _require_alike(runs: Sequence[_Run], whole: str) -> None:
    """Raise UserError if runs of a method, or all of the whole that has this name, cannot be averaged."""
    odd = {job.dataset for job, result in runs if alike.has_odd_images(result)}
    for name in dict.fromkeys(whole or job.method.family for job, _ in runs):
        of_name = [(job, result) for job, result in runs if name in (whole, job.method.family)]
        named = [(job.dataset, f"{job.method.family} on {job.dataset}, seed {job.seed}", one) for job, one in of_name]
        if why := alike.in_words(alike.parted(named, odd)):
            raise UserError(f"{name}: {why}: nothing is chosen; move the older runs away and run them anew")


def _zero_shot(experiment: Experiment) -> str:
    """The label of the one zero-shot method."""
    labels = [method.label for method in experiment.methods if not method.trains]
    if len(labels) != 1:
        raise UserError(
            f"{experiment.name}: rule {NO_COLLAPSE} compares tries with one zero-shot method of the file (like CLIP in "
            f"demo_settings.yaml), but there are {len(labels)}"
        )
    return labels[0]


def _count(result: Mapping[str, Any]) -> list[int]:
    if result.get("tested_on") != "val" or result.get("selected_on") == TEST:
        raise UserError(f"{result.get('dataset')} has no validation images: nothing is chosen on test images")
    return [int(result["correct"]), int(result["images"])]


def _try(method: Method, counts: _Counts, zero: Mapping[str, list[int]], written: Mapping[str, str]) -> Try:
    """A try; `written` are the settings of its config, if these are to be kept among equal ones."""
    means = [sum((Fraction(*one) for one in seeds), Fraction()) / len(seeds) for seeds in counts.values()]
    least = {dataset: Fraction(*one) - Fraction(MOST_BELOW, 100) for dataset, one in zero.items()}
    collapses = bool(zero) and any(Fraction(*one) < least[name] for name, seeds in counts.items() for one in seeds)
    size = tuple(float(value) for _, value in method.point)
    own = [written.get(key, "") for key, _ in method.point]
    of_config = all(map(_is_number, own)) and tuple(map(float, own)) == size
    return Try(dict(method.point), size, sum(means, Fraction()) / len(means), counts, of_config, collapses)


def _record(
    methods: Sequence[Method], counts: Mapping[str, _Counts], zero: Mapping[str, list[int]], ties: str
) -> dict[str, Any]:
    method, axes = methods[0], dict(methods[0].point)
    written = {key: as_text(value) for key, value in read_settings(str(method.config)).items()}
    tries = [_try(one, counts[one.label], zero, written if ties == OF_CONFIG else {}) for one in methods]
    kept = [one for one in tries if not one.collapses]
    smallest = min(tries, key=lambda one: one.size)
    best = min(kept, key=lambda one: (-one.mean, not one.of_config, one.size), default=smallest)
    options = {key: text for key, text in method.options if key not in axes}
    return {
        **chosen.identity(method.trainer, method.config, options, axes),
        "first": method.first,
        "options": best.point,
        **({"of_config": True} if best.of_config else {}),
        **({"left_out": [one.point for one in tries if one.collapses]} if zero else {}),
        "tries": [
            {"options": one.point, "accuracy_pct": round(float(100 * one.mean), 4), "by_dataset": one.counts}
            for one in tries
        ],
    }
