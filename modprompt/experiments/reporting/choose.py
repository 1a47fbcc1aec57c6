"""Select the hyperparameters of each method on validation images, and write the selected values to a file.

    modprompt experiment run demo_settings
    modprompt experiment choose demo_settings

FILE is the path of an experiment file with `protocol: validation` and a grid, or the name of such a file in
configs/experiments. The key `rule` of the file sets how values are selected, and `ties` sets which of several equally
good values is used. Another experiment uses the selected values with `hyperparameters: FILE.json`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

from modprompt import programs
from modprompt.errors import UserError
from modprompt.experiments.plan import arguments, chosen, spec
from modprompt.experiments.plan.experiment import NO_COLLAPSE, OF_CONFIG, VALIDATION, Experiment, Job, Method
from modprompt.experiments.plan.inputs import Inputs
from modprompt.experiments.plan.protocols import jobs, wanted
from modprompt.experiments.reporting import alike
from modprompt.experiments.running import state
from modprompt.io.images import TEST
from modprompt.io.settings import pairs, read_settings
from modprompt.version import __version__

MOST_BELOW = 5  # points that NO_COLLAPSE allows a run to be below zero-shot CLIP
_Counts = dict[str, list[list[int]]]  # by data set, [correct, images] of each seed
_Run = tuple[Job, dict[str, Any]]  # with its result


def _main(argv: list[str] | None) -> None:
    parser = programs.Parser(__doc__)
    parser.add_argument("file", help="experiment file with protocol validation, or its name in configs/experiments")
    arguments.add_out(parser)
    arguments.add_data(parser)
    arguments.add_options(parser)
    parser.add_argument(
        "--to", type=Path, help="file for the selected values (default: FILE.json next to the experiment file)"
    )
    args = parser.parse_args(argv)
    path = spec.find(args.file)
    experiment = spec.read(path, dict(pairs(args.options)))
    states = state.of_all(jobs(experiment), args.out, Inputs(args.out, args.data))
    content = choose(experiment, states, args.file, args.out)
    to = args.to or path.with_suffix(".json")
    chosen.write(to, content)
    print("\n".join(lines(content)))
    print(f"The selected hyperparameters were written to {to}.")


def main(argv: list[str] | None = None) -> int:
    """Exit code: 0, or 2 after a message on what is wrong."""
    return programs.report(_main, argv)


def lines(content: Mapping[str, Any]) -> list[str]:
    """What was chosen, as a Markdown table: accuracy of every try in percent, the chosen one in bold; then remarks."""
    keys, methods = " and ".join(content["grid"]), content["methods"]
    names = [_words(tried["options"]) for tried in next(iter(methods.values()))["tries"]]
    text = [f"| {keys} | {' | '.join(names)} |", f"|{' --- |' * (len(names) + 1)}"]
    remarks: dict[str, list[str]] = {}
    for label, record in methods.items():
        left_out = record.get("left_out", [])
        cells = [f"{tried['accuracy_pct']:.2f}{'†' * (tried['options'] in left_out)}" for tried in record["tries"]]
        bold = ["**" * (tried["options"] == record["options"]) for tried in record["tries"]]
        text.append(f"| {label} | {' | '.join(f'{b}{cell}{b}' for b, cell in zip(bold, cells))} |")
        none_left = "every value was excluded, so the smallest value is used" * (len(left_out) == len(record["tries"]))
        for remark in filter(None, (none_left, _tie(record, keys))):
            remarks.setdefault(remark, []).append(label)
    if any("†" in row for row in text):
        below = f"the accuracy of a seed is more than {MOST_BELOW} points below zero-shot CLIP on a data set"
        text += ["", f"† marks excluded values: {below}."]
    for remark, labels in remarks.items():
        text += ["", f"{', '.join(labels)}: {remark}."]
    return text


def _words(options: Mapping[str, str]) -> str:
    return ", ".join(options.values())


def _tie(record: Mapping[str, Any], keys: str) -> str:
    """Between which values of a method's grid its images do not choose, and which is used; empty if they do."""
    tries, options = record["tries"], record["options"]
    best = next(tried["accuracy_pct"] for tried in tries if tried["options"] == options)
    left = [tried for tried in tries if tried["options"] not in record.get("left_out", [])] or tries
    equal = [_words(tried["options"]) for tried in left if tried["accuracy_pct"] == best]
    if len(equal) < 2:
        return ""
    images = sum(seeds[0][1] for seeds in tries[0]["by_dataset"].values())
    whose = "the value in the config of the method" if record.get("of_config") else "the smallest value"
    used = f"{_words(options)} is used, because it is {whose}"
    if any(tried["by_dataset"] != tries[0]["by_dataset"] for tried in tries):
        return f"these values have equal accuracy on {images:,} images: {'; '.join(equal)}. {used}"
    if best == 100:
        return f"every value classifies all {images:,} images correctly. {used}"
    return (
        f"every value gave the same accuracy on {images:,} images, so {keys} may have no effect on the method. {used}"
    )


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


def choose(
    experiment: Experiment, states: Sequence[tuple[Job, state.State]], file: str = "", out: Path | None = None
) -> dict[str, Any]:
    """What is chosen for each method that has a grid, with every try, as chosen.write accepts it.

    Args:
        experiment: of protocol validation.
        states: of all its runs.
        file: the experiment as commands find it; its name without.
        out: the output folder of its runs, for messages.

    Raises:
        UserError: if methods differ in grids or seeds, values are not numbers, a run is missing, or rule no_collapse
            has no zero-shot CLIP to compare tries with.
    """
    families, with_zero = _families(experiment), experiment.rule == NO_COLLAPSE
    runs = _runs(experiment, states, file or experiment.name, out, with_zero)
    _require_alike(runs, experiment.name if with_zero else "")
    counts: dict[str, _Counts] = {}
    for job, result in runs:
        counts.setdefault(job.method.label, {}).setdefault(job.dataset, []).append(_count(result))
    zero = {dataset: seeds[0] for dataset, seeds in counts[_zero_shot(experiment)].items()} if with_zero else {}
    grid: dict[str, dict[str, None]] = {}
    for key, value in (pair for method in next(iter(families.values())) for pair in method.point):
        grid.setdefault(key, {})[value] = None
    records = {label: _record(methods, counts, zero, experiment.ties) for label, methods in families.items()}
    for label, record in records.items():
        result = next(result for job, result in runs if job.method.family == label)
        record["weights"] = result.get("backbone_hash", "")
    machines = {
        f"PyTorch {(one.get('versions') or {}).get('torch', 'unknown')}, {one.get('device')}" for _, one in runs
    }
    return {
        "rule": in_words(experiment),
        "experiment": experiment.name,
        "protocol": VALIDATION,
        "datasets": list(experiment.datasets),
        "shots": experiment.shots[0],
        "seeds": list(experiment.seeds),
        "grid": {key: list(values) for key, values in grid.items()},
        **({"zero_shot": zero} if zero else {}),
        "methods": records,
        "made_by": {
            "modprompt": __version__,
            "runs": len(runs),
            "machines": sorted(machines),
            "clips": sorted({str(result.get("backbone_hash")) for _, result in runs}),
            "splits": {job.dataset: str((result.get("split") or {}).get("hash", "")) for job, result in runs},
        },
    }


def _families(experiment: Experiment) -> dict[str, list[Method]]:
    """The variants of each method that has a grid."""
    name = experiment.name
    if experiment.protocol != VALIDATION:
        raise UserError(
            f"`modprompt experiment choose` needs an experiment with `protocol: {VALIDATION}`, but {name} has "
            f"`protocol: {experiment.protocol}`. Use another experiment file."
        )
    families: dict[str, list[Method]] = {}
    for method in experiment.methods:
        if method.trains and method.point:
            families.setdefault(method.family, []).append(method)
    fronts = {method.front.family for methods in families.values() for method in methods if method.front}
    without = [one.family for one in experiment.methods if one.trains and one.family not in (*families, *fronts)]
    if without or not families:
        whose = f"the {'method' if len(without) == 1 else 'methods'} {', '.join(without)}" if without else "any method"
        raise UserError(
            f"{name}: no grid of hyperparameter values is defined for {whose}. Add `grid: {{KEY: [VALUE, ...]}}` to "
            "the experiment file."
        )
    (first, of_first), *others = families.items()
    for label, methods in others:
        if [(one.point, one.seeds) for one in methods] != [(one.point, one.seeds) for one in of_first]:
            raise UserError(
                f"{name}: {first} and {label} have different grids or seeds. Give all methods the same grid and seeds."
            )
    for key, value in (pair for method in of_first for pair in method.point):
        if not _numbers([value]):
            raise UserError(f"{name}: the grid value {value!r} of {key} is not a number. Use only numbers in a grid.")
    return families


def _numbers(texts: Iterable[Any]) -> tuple[float, ...]:
    """Texts as finite numbers; none if one is not."""
    try:
        numbers = tuple(map(float, texts))
    except (TypeError, ValueError):
        return ()
    return numbers if all(map(math.isfinite, numbers)) else ()


def _runs(
    experiment: Experiment, states: Sequence[tuple[Job, state.State]], file: str, out: Path | None, with_zero: bool
) -> list[_Run]:
    """The runs that measure, all finished; those of methods that train nothing only if they are needed."""
    stands = {job.folder: one for job, one in states}
    jobs = [one for one in wanted(experiment) if one.column == VALIDATION and (one.method.trains or with_zero)]
    lacking = [job for job in jobs if stands[job.folder].name != state.FINISHED]
    if lacking:
        job = lacking[0]
        run = f"{job.method.label} on {job.dataset}, seed {job.seed},"
        why = state.describe(run, *stands[job.folder][:2]).rstrip(".")
        missing = f"{len(lacking)} results are missing" if len(lacking) > 1 else "1 result is missing"
        where, flag = (f" in {out}", f" --out {out}") if out else ("", "")
        raise UserError(
            f"{experiment.name}: hyperparameters are selected only when all runs are complete, but {missing}{where}. "
            f"The first is this: {why}. Complete the runs with `modprompt experiment run {file}{flag}`. If you ran "
            "them with other --out or --options, use the same values here."
        )
    return [(job, stands[job.folder].result or {}) for job in jobs]


def _require_alike(runs: Sequence[_Run], whole: str) -> None:
    """Raise UserError if runs of a method, or all of the whole that has this name, cannot be averaged."""
    for name in dict.fromkeys(whole or job.method.family for job, _ in runs):
        of_name = [(job, result) for job, result in runs if name in (whole, job.method.family)]
        named = [(job.dataset, f"{job.method.family} on {job.dataset}, seed {job.seed}", one) for job, one in of_name]
        if no_mean := alike.in_words(alike.parted(named)):
            raise UserError(
                f"{name} has {no_mean}. Move the older runs to another folder and run the experiment again."
            )


def _zero_shot(experiment: Experiment) -> str:
    """The label of the one zero-shot method."""
    labels = [method.label for method in experiment.methods if not method.trains]
    if len(labels) != 1:
        raise UserError(
            f"{experiment.name}: the rule {NO_COLLAPSE} needs exactly one zero-shot method (like CLIP in "
            f"demo_settings.yaml), but the file has {len(labels)}. Add or remove zero-shot methods."
        )
    return labels[0]


def _count(result: Mapping[str, Any]) -> list[int]:
    if result.get("tested_on") != "val" or result.get("selected_on") == TEST:
        raise UserError(
            f"{result.get('dataset')} has no validation images, and hyperparameters are never selected on test images. "
            "Use data sets with validation images."
        )
    return [int(result["correct"]), int(result["images"])]


def _mean(counts: _Counts) -> Fraction:
    """The share of right images, over seeds, then over data sets; floating point would tell equal ones apart."""
    shares = [sum((Fraction(*count) for count in seeds), Fraction()) / len(seeds) for seeds in counts.values()]
    return sum(shares, Fraction()) / len(shares)


def _collapses(counts: _Counts, zero: Mapping[str, list[int]]) -> bool:
    """Whether a seed falls too far below zero-shot CLIP on a data set."""
    least = {name: Fraction(*count) - Fraction(MOST_BELOW, 100) for name, count in zero.items()}
    return any(Fraction(*count) < least[name] for name, seeds in counts.items() if zero for count in seeds)


def _record(
    methods: Sequence[Method], counts: Mapping[str, _Counts], zero: Mapping[str, list[int]], ties: str
) -> dict[str, Any]:
    """What is chosen for a method, for what that holds, and its tries."""
    method, axes = methods[0], list(dict(methods[0].point))
    written = read_settings(str(method.config)) if ties == OF_CONFIG else {}
    of_config = _numbers(written.get(key) for key in axes)  # to be kept among equal ones

    def size(variant: Method) -> tuple[float, ...]:
        return _numbers(value for _, value in variant.point)

    def rank(variant: Method) -> tuple[Any, ...]:
        return -_mean(counts[variant.label]), size(variant) != of_config, size(variant)

    left_out = [variant for variant in methods if _collapses(counts[variant.label], zero)]
    left = [variant for variant in methods if variant not in left_out]
    best = min(left, key=rank) if left else min(methods, key=size)
    tries = [
        {
            "options": dict(variant.point),
            "accuracy_pct": round(float(100 * _mean(counts[variant.label])), 4),
            "by_dataset": counts[variant.label],
        }
        for variant in methods
    ]
    options = {key: text for key, text in method.options if key not in axes}
    return {
        **chosen.identity(method.trainer, method.config, options, axes),
        "first": method.first,
        "options": dict(best.point),
        **({"of_config": True} if size(best) == of_config else {}),
        **({"left_out": [dict(variant.point) for variant in left_out]} if zero else {}),
        "tries": tries,
    }
