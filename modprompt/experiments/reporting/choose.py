"""Select the hyperparameters of each method on validation images, and write the selected values to a file.

    modprompt experiment run demo_settings
    modprompt experiment choose demo_settings

FILE is the path of an experiment file with `protocol: validation` and a grid, or the name of such a file in
configs/experiments. The key `rule` of the file sets how values are selected, and `ties` sets which of several equally
good values is used. The command writes the selected values to FILE.selected.yaml and all trials to FILE.trials.csv.
Another experiment uses the selected values with `hyperparameters: FILE.selected.yaml`.
"""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from modprompt import programs
from modprompt.errors import UserError
from modprompt.experiments.plan import arguments, selected
from modprompt.experiments.plan import file as experiment_file
from modprompt.experiments.plan.experiment import NO_COLLAPSE, OF_CONFIG, VALIDATION, Experiment, Job, Method
from modprompt.experiments.plan.inputs import Inputs
from modprompt.experiments.plan.protocols import jobs, wanted
from modprompt.experiments.reporting.runs import find_mixture
from modprompt.experiments.running import state
from modprompt.io.files import read_text, write_whole
from modprompt.io.result import TEST
from modprompt.io.settings import as_text, pairs, read_settings
from modprompt.version import __version__


def main(argv: list[str] | None = None) -> int:
    """Run the command, and return its exit code: 0, or 2 after an error message."""
    return programs.report(_main, argv)


def _main(argv: list[str] | None) -> None:
    parser = programs.Parser(__doc__)
    parser.add_argument("file", help="experiment file with protocol validation, or its name in configs/experiments")
    arguments.add_out(parser)
    arguments.add_data(parser)
    arguments.add_options(parser)
    parser.add_argument(
        "--to", type=Path, help="file for the selected values (default: FILE.selected.yaml next to the experiment file)"
    )
    args = parser.parse_args(argv)
    path = experiment_file.find(args.file)
    experiment = experiment_file.read(path, dict(pairs(args.options)))
    states = state.of_all(jobs(experiment), args.out, Inputs(args.out, args.data))
    choose(experiment, states, args.to or path.with_suffix(".selected.yaml"), args.file, args.out)


def describe_rule(experiment: Experiment) -> str:
    """Return the selection rule of an experiment as a part of a sentence."""
    of = "all classes" if experiment.classes == "all" else "the base classes"
    ties = "that of the method's config if it is among them, else " if experiment.ties == OF_CONFIG else ""
    rule = (
        f"of the values of the grid the one with the highest accuracy on all validation images of {of}, averaged over "
        f"seeds and then over data sets; of equal ones {ties}the smallest"
    )
    if experiment.rule != NO_COLLAPSE:
        return rule
    return (
        f"{rule}; values at which a seed falls more than {selected.MOST_BELOW} points below zero-shot CLIP on a data "
        "set's same images are left out; if none is left, the smallest"
    )


def _grids(experiment: Experiment) -> dict[str, list[Method]]:
    """Return the variants of each method, which all have the same grid and seeds.

    Raises:
        UserError: if the protocol is not validation, a method has no grid or another grid, or a value is not a number.
    """
    name = experiment.name
    if experiment.protocol != VALIDATION:
        raise UserError(
            f"`modprompt experiment choose` needs an experiment with `protocol: {VALIDATION}`, but {name} has "
            f"`protocol: {experiment.protocol}`. Use another experiment file."
        )
    trained = [method for method in experiment.methods if method.trains]
    grids: dict[str, list[Method]] = {}
    for method in trained:
        if method.grid_point:
            grids.setdefault(method.family, []).append(method)
    earlier = {method.earlier_method.family for method in trained if method.grid_point and method.earlier_method}
    without = [method.family for method in trained if method.family not in (*grids, *earlier)]
    if without or not grids:
        names = f"the {'method' if len(without) == 1 else 'methods'} {', '.join(without)}" if without else "any method"
        raise UserError(
            f"{name}: no grid of hyperparameter values is defined for {names}. Add `grid: {{KEY: [VALUE, ...]}}` to "
            "the experiment file."
        )
    first, *others = grids
    points = {label: [(method.grid_point, method.seeds) for method in methods] for label, methods in grids.items()}
    for label in others:
        if points[label] != points[first]:
            raise UserError(
                f"{name}: {first} and {label} have different grids or seeds. Give all methods the same grid and seeds."
            )
    for key, value in (pair for point, _ in points[first] for pair in point):
        if not _is_number(value):
            raise UserError(f"{name}: the grid value {value!r} of {key} is not a number. Use only numbers in a grid.")
    return grids


def _is_number(text: Any) -> bool:
    """Return True for a finite number or its text."""
    try:
        return math.isfinite(float(text))
    except (TypeError, ValueError):
        return False


def _results(
    experiment: Experiment, states: Sequence[tuple[Job, state.State]], file: str, out: Path
) -> list[tuple[Job, dict[str, Any]]]:
    """Return the runs that measure on validation images, with their results.

    Raises:
        UserError: if a run is missing, if runs cannot be averaged, or if images other than validation images were used.
    """
    state_of = {job.folder: run_state for job, run_state in states}
    with_zero_shot = experiment.rule == NO_COLLAPSE
    runs = [job for job in wanted(experiment) if job.column == VALIDATION and (job.method.trains or with_zero_shot)]
    unfinished = [job for job in runs if state_of[job.folder].name != state.FINISHED]
    if unfinished:
        job = unfinished[0]
        name, why, *_ = state_of[job.folder]
        first = state.describe(f"{job.method.label} on {job.dataset}, seed {job.seed},", name, why).rstrip(".")
        missing = f"{len(unfinished)} results are missing" if len(unfinished) > 1 else "1 result is missing"
        raise UserError(
            f"{experiment.name}: hyperparameters are selected only when all runs are complete, but {missing} in {out}. "
            f"The first is this: {first}. Complete the runs with `modprompt experiment run {file} --out {out}`. If you "
            "ran them with other --out or --options, use the same values here."
        )
    zero_shot = [method.label for method in experiment.methods if not method.trains]
    if with_zero_shot and len(zero_shot) != 1:
        raise UserError(
            f"{experiment.name}: the rule {NO_COLLAPSE} needs exactly one zero-shot method (like CLIP in "
            f"demo_settings.yaml), but the file has {len(zero_shot)}. Add or remove zero-shot methods."
        )
    results = [(job, state_of[job.folder].result or {}) for job in runs]
    averaged: dict[str, list[tuple[str, str, dict[str, Any]]]] = {}
    for job, result in results:
        run = f"{job.method.family} on {job.dataset}, seed {job.seed}"
        averaged.setdefault(experiment.name if with_zero_shot else job.method.family, []).append(
            (job.dataset, run, result)
        )
        if result.get("tested_on") != "val" or result.get("selected_on") == TEST:
            raise UserError(
                f"{result.get('dataset')} has no validation images, and hyperparameters are never selected on test "
                "images. Use data sets with validation images."
            )
    for name, of_name in averaged.items():
        if mixture := find_mixture(of_name):
            raise UserError(
                f"{name} has {mixture}. Move the older runs to another folder and run the experiment again."
            )
    return results


def choose(experiment: Experiment, states: Sequence[tuple[Job, state.State]], path: Path, file: str, out: Path) -> None:
    """Select values, write them to `path` and the trials next to it, and print the accuracy of each value.

    Args:
        experiment: an experiment of protocol validation.
        states: all runs of the experiment and their states.
        path: FILE.selected.yaml.
        file: the experiment as a command finds it, for messages.
        out: the output folder of the runs, for messages.

    Raises:
        UserError: as _grids and _results, or if a file cannot be written or would replace a file of another kind.
    """
    grids = _grids(experiment)
    results = _results(experiment, states, file, out)
    keys = [key for key, _ in next(iter(grids.values()))[0].grid_point]
    rows = []
    for job, result in results:
        values = [dict(job.method.grid_point).get(key, "") for key in keys]
        rows.append([job.method.family, job.dataset, job.seed, result["correct"], result["images"], *values])
    trials = pd.DataFrame(rows, columns=[*selected.COLUMNS, *keys])
    of_config: dict[str, list[str]] = {}
    for label, (method, *_) in grids.items() if experiment.ties == OF_CONFIG else ():
        settings = read_settings(str(method.config))
        if all(_is_number(settings.get(key)) for key in keys):
            of_config[label] = [as_text(settings[key]) for key in keys]
    ranked = selected.rank(trials, experiment.rule, of_config)
    best = ranked.drop_duplicates("method").set_index("method")
    weights = {job.method.family: str(result.get("backbone_hash", "")) for job, result in reversed(results)}
    entries = {}
    for label, (method, *_) in grids.items():
        options = {key: text for key, text in method.options if key not in keys}
        entries[label] = {
            "values": {key: str(best.loc[label, key]) for key in keys},
            **selected.identity(method.trainer, method.config, options, keys),
            "first_stage": method.first_stage_folder,
            "weights": weights[label],
            **({"of_config": of_config[label]} if label in of_config else {}),
        }
    table = trials.to_csv(index=False)
    content = {
        "experiment": experiment.name,
        "rule": experiment.rule,
        "description": describe_rule(experiment),
        "trials_sha256": hashlib.sha256(table.encode()).hexdigest(),
        "made_by": {
            "modprompt": __version__,
            "versions": sorted({str((result.get("versions") or {}).get("torch")) for _, result in results}),
            "splits": {job.dataset: str((result.get("split") or {}).get("hash", "")) for job, result in results},
        },
        "methods": entries,
    }
    _write(path, content, table)
    ranked["best"] = ~ranked.duplicated("method")
    print(ranked.drop(columns="gain").to_string(index=False, float_format="{:.2f}".format))
    print(f"The selected hyperparameters were written to {path}, and all trials to {selected.trials_path(path)}.")


def _write(path: Path, content: dict[str, Any], trials: str) -> None:
    """Write the selected values and the trials; raise UserError if this would replace files of another kind."""
    trials_path = selected.trials_path(path)
    kind = ""
    if os.path.lexists(path):
        try:
            selected.read(path)
        except UserError:
            kind, existing = "selected hyperparameters", path
    if not kind and trials_path.exists() and not read_text(trials_path).startswith(",".join(selected.COLUMNS)):
        kind, existing = "trials", trials_path
    if kind:
        raise UserError(
            f"--to: the file {existing} exists, but does not contain {kind}, so the file is not replaced. Use a "
            "different file name."
        )
    head = "# Written by `modprompt experiment choose`. The trials are in the CSV file next to this file.\n"
    try:
        write_whole(trials_path, trials)
        write_whole(path, head + yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=120))
    except OSError as error:
        raise UserError(f"--to: cannot write {path} ({error.strerror or error}).") from None
