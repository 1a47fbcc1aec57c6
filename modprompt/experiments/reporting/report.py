"""Write the results of an experiment as one HTML page, as tables (Markdown, CSV, LaTeX, JSON) and as figures.

    modprompt experiment report base2new
    modprompt experiment report base2new --with theirs=/path/to/MaPLe/output
    modprompt experiment report /path/to/CoOp/output --protocol few_shot

FILE is the path of an experiment file, the name of a file in configs/experiments, or the output folder of a Dassl-based
codebase such as CoOp, whose log files are then read (./digits is a folder, digits is the experiment). Missing runs are
listed. A mean is shown only if all of its runs have finished with the same weights, splits and image decoding.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from modprompt import programs
from modprompt.checks import counted, some
from modprompt.errors import UserError
from modprompt.experiments.plan import arguments, spec
from modprompt.experiments.plan.experiment import OF_TREES, Experiment, Plan
from modprompt.experiments.plan.inputs import Inputs
from modprompt.experiments.plan.protocols import jobs
from modprompt.experiments.reporting import alike, compare, cost, figures, origins, page, published, tables, unknown
from modprompt.experiments.reporting.logs import add_tree, experiment_of_tree
from modprompt.experiments.reporting.recorded import Recorded, gallery, recorded
from modprompt.experiments.reporting.results import Results, of_experiment
from modprompt.experiments.reporting.seeds import beside
from modprompt.experiments.reporting.tables import Numbers, Section
from modprompt.experiments.running import state, status
from modprompt.io import pages
from modprompt.io.figures import WHY_NONE, Look, can_draw
from modprompt.io.files import is_inside, read_bytes, write_json, write_whole
from modprompt.io.records import parse_json
from modprompt.io.tables import write_table

PAGE, LIST = "index.html", "files.json"  # the page; the list of what a report has written
_MISSING = "Missing results, and results that cannot be averaged"
_CLIPS, _SOURCES, _SEEDS = "CLIP models", "Sources of published results", "Published accuracies of single seeds"


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = programs.Parser(__doc__)
    add = parser.add_argument
    add("file", help="experiment file, its name in configs/experiments, or an output folder with log files")
    arguments.add_common(parser)
    arguments.add_data(parser)
    add(
        "--with",
        dest="trees",
        nargs="+",
        default=[],
        metavar="[LABEL=]FOLDER",
        help="output folders of other codebases, whose log files are added",
    )
    add("--to", type=Path, default=None, help="folder for the report (default: reports/<name> in the output folder)")
    add(
        "--selected-on-test",
        "--marked",
        action="store_true",
        help="also show results that were selected on test images or on the whole validation split",
    )
    add(
        "--protocol",
        choices=OF_TREES,
        default="base2new",
        help="protocol of the runs in an output folder (default: base2new)",
    )
    add(
        "--shots",
        type=int,
        nargs="+",
        default=[],
        help="numbers of shots of the runs in an output folder (default: all)",
    )
    args: argparse.Namespace = parser.parse_args(argv)
    return args


def folder_of(plan: Plan, out: Path) -> Path:
    """Where a report goes."""
    return out / "reports" / plan.name


def gather(args: argparse.Namespace) -> tuple[Plan, list[Results]]:
    """What was planned, and the results of each of its parts.

    Raises:
        UserError: on a fault in the file or a folder without runs.
    """
    trees = list(args.trees)
    if Path(args.file).is_dir() and not (spec.FILES / f"{args.file}.yaml").is_file():
        experiment = experiment_of_tree(Path(args.file), args.protocol, tuple(args.seeds), tuple(args.shots))
        plan = Plan(experiment.name, experiment.title, experiment.notes, {}, (experiment,))
        found = [of_experiment(experiment, [])]  # no runs of ours
        trees.insert(0, f"logs={args.file}")
    else:
        plan = arguments.plan_of(args)
        inputs = Inputs(args.out, args.data)
        states = state.of_all(jobs(*plan.parts), args.out, inputs)
        found = [of_experiment(part, states, args.out, args.selected_on_test) for part in plan.parts]
        for line in status.not_compared(states, inputs):
            print(f"warning: {line}", file=sys.stderr)
    if trees and len(found) > 1:
        raise UserError(
            f"--with: {plan.name} has several parts. Select one part, for example --parts {plan.parts[0].name}."
        )
    if plan.parts[0].added is not None and trees:
        raise UserError(f"--with: {_report_of_rounds().NO_TREES}")
    for word in trees:
        label, equals, folder = word.partition("=")
        labelled = equals and not Path(word).is_dir()
        root = Path(folder if labelled else word)
        add_tree(found[0], plan.parts[0], root, label if labelled else root.absolute().name)
    return plan, found


def _report_of_rounds() -> Any:
    """The module that reports the protocol of rounds."""
    from modprompt.experiments.reporting import rounds  # late: rounds.py imports this package

    return rounds


class Tables(NamedTuple):
    """The numbers of a report: means, tables, and what the numbers are."""

    numbers: Numbers
    sections: list[Section]
    about: str


def tables_of(experiment: Experiment, results: Results) -> Tables:
    """The tables of a report."""
    numbers = tables.numbers(experiment, results)
    if experiment.added is None:
        sections = tables.sections(experiment, results, numbers)
        if (known := unknown.numbers(results)) is not None:
            sections = unknown.with_unknown(experiment, results, sections, known)
        return Tables(numbers, sections, tables.caption(experiment, sections))
    of_rounds = _report_of_rounds()
    sections = of_rounds.sections(experiment, results)
    return Tables(numbers, sections, f"{tables.caption(experiment, sections)} {of_rounds.ABOUT}")


def write_plan(plan: Plan, found: Sequence[Results], folder: Path, data: Path | None = None) -> None:
    """Write the report of a plan and print its tables: each part into its own folder, and one page of all.

    Files of an earlier report there that this one does not write are removed; those of others stay and are named.

    Args:
        plan: what was to be run.
        found: the results of each of its parts.
        folder: of the report.
        data: folder of the data sets, where the pictures of the page are.
    """
    before, parts = _listed(folder), list(zip(plan.parts, found))
    looks = figures.looks(parts)
    if plan.has_parts:
        shown = {part.name: write(part, results, folder / part.name, looks, data) for part, results in parts}
        names = [f"{part}/{name}" for part, (_, own) in shown.items() for name in own] + [PAGE]
        reports = [one._replace(name=part) for part, (one, _) in shown.items()]
        write_whole(folder / PAGE, page.page(plan.title, reports, plan.notes))
        print("\n".join(filter(None, [plan.notes, f"The page of all parts was written to {folder / PAGE}."])))
    else:
        names = write(*parts[0], folder, looks, data)[1]
    names.append(LIST)
    write_json(folder / LIST, sorted(names))
    for name in before - {*names}:
        (folder / name).unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # of a part, which has no other file
            (folder / name).parent.rmdir()
    others = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()} - {*names}
    if others:
        print(
            f"note: {folder} also contains files that do not belong to this report: {some(sorted(others))}.",
            file=sys.stderr,
        )
    if not can_draw():
        print(f"warning: The report has no figures, {WHY_NONE}", file=sys.stderr)


def _listed(folder: Path) -> set[str]:
    """The files that the earlier report in a folder has written, by their paths from there."""
    try:
        names = parse_json(read_bytes(folder / LIST))
    except (OSError, ValueError):  # there is none, or it was edited
        return set()
    return {name for name in names if is_inside(name)} if isinstance(names, list) else set()


def write(
    experiment: Experiment, results: Results, folder: Path, looks: Mapping[str, Look], data: Path | None = None
) -> tuple[page.Report, list[str]]:
    """Write all files of a report into a folder, each whole, and print the tables.

    Args:
        experiment: what was run.
        results: its results.
        folder: of the report.
        looks: of the methods of the whole page.
        data: folder of the data sets, where the pictures of the page are.

    Returns:
        What its page shows, and the names of its files.
    """
    numbers, sections, about = tables_of(experiment, results)
    measured, faults = figures.Measured(experiment, results, numbers, sections, looks), list[str]()
    label = measured.mine or next(iter(measured.closest(1) if measured.labels else []), "")
    tests = _tests(measured, label, faults) if label else {}
    drawn = _draw(measured, label, tests, faults, folder) if can_draw() else {}
    mistakes = _mistakes(label, measured.line(label).seeds, tests, data, faults) if label else {}
    compared = compare.compare(experiment, results, numbers)
    spent, accuracy = cost.costs(experiment, results, sections), cost.accuracy_name(sections)
    mine = [line.label for line in results.lines if experiment.highlight in (line.family, line.panel)]
    shown = page.Report(
        title=experiment.title,
        about=about,
        finding=compare.finding(experiment, results, numbers, sections),
        sections=[*sections[-1:], *sections[:-1]],
        origins=origins.origins(experiment, results),
        pictures=[page.picture(folder / name, said) for name, said in drawn.items()],
        mistakes=mistakes,
        compared=compared if compared and compared.cells else None,
        costs=cost.texts(spent, accuracy),
        notes={
            _MISSING: tables.lacking(results),
            "Missing pairs in the comparison": compared.left_out if compared else [],
            "Runs without test images": tables.untested(results),
            **({} if experiment.added is None else _report_of_rounds().notes(results)),
            "Warnings": alike.warnings(results),
            "Missing figures and images": faults,
            _CLIPS: alike.clips(results),
            _SOURCES: tables.sources(sections),
            _SEEDS: beside(experiment, results),
            "Notes": _own_notes(experiment, results),
        },
        details=[_CLIPS, _SOURCES, _SEEDS],
        mine=mine if len(mine) < len(results.lines) else [],
    )
    csvs = {"report.csv": tables.csv_of(sections)}
    csvs.update({} if experiment.added is None else _report_of_rounds().tables(results))
    if shown.compared:
        csvs[compare.FILE_NAME] = shown.compared.csv()
    if spent:
        csvs[cost.FILE_NAME] = (list(cost.COLUMNS_OF_CSV), cost.rows_of_csv(spent, accuracy))
    if experiment.together:
        csvs["together.csv"] = tables.csv_of([one for section in sections for one in section.details[:1]])
    if known := [one for section in sections for one in section.details if one.columns == unknown.COLUMNS]:
        csvs[unknown.FILE_NAME] = tables.csv_of(known)
    for name, (columns, cells) in csvs.items():
        write_table(folder / name, columns, cells)
    text = _markdown(shown, sections)
    write_whole(folder / "report.md", text)
    write_whole(folder / "report.tex", _latex(shown, sections))
    write_whole(folder / PAGE, page.page(experiment.title, [shown]))
    head, rows = csvs.get(compare.FILE_NAME, ([], []))
    differences = [dict(zip(head, row)) for row in rows]
    write_json(folder / "report.json", origins.content(experiment, results, sections, differences))
    print(text)
    first, *others = csvs
    files = [PAGE, "report.md", first, "report.tex", "report.json", *others]
    print(f"The report was written to {folder}: {', '.join(files)}{' and figures' if drawn else ''}.")
    return shown, [*files, *drawn, *(str(Path(name).with_suffix(".pdf")) for name in drawn)]


def _markdown(shown: page.Report, sections: Sequence[Section]) -> str:
    """All tables, the differences, the costs, and the notes."""
    more: list[str] = []
    for title, said, head, rows in shown.compared.tables() if shown.compared else ():
        whole = f"{shown.compared.about} {said}"  # type: ignore[union-attr]
        title = f"{shown.compared.title}, {title}"  # type: ignore[union-attr]
        more += tables.markdown_texts(title, said if more else whole, head, rows, own_form=True)
    if shown.costs:
        more += tables.markdown_texts("Cost", cost.ABOUT, shown.costs[0], shown.costs[1:])
    return tables.markdown(sections, shown.title, shown.about, shown.notes, more)


def _latex(shown: page.Report, sections: Sequence[Section]) -> str:
    """All tables, and the differences."""
    text = tables.latex(sections, shown.title, shown.about)
    for title, said, head, rows in shown.compared.tables() if shown.compared else ():
        caption = f"{shown.compared.title}, {title}. {shown.compared.about} {said}"  # type: ignore[union-attr]
        text += "\n" + tables.latex_table(caption, head, [list(map(tables.latex_text, row)) for row in rows])
    return text


def _own_notes(experiment: Experiment, results: Results) -> list[str]:
    own = [experiment.notes, experiment.hyperparameters, *alike.class_notes(experiment, results)]
    return list(filter(None, [*own, published.note_of(experiment)]))


Tests = dict[str, dict[str, Recorded]]  # by data set, and half of the classes or number of shots


def _tests(measured: figures.Measured, label: str, faults: list[str]) -> Tests:
    """Return what the tests of a method recorded."""
    tests: Tests = {}
    for (dataset, column), runs in figures.views(measured).items():
        if (own := recorded(runs.get(label, ()), faults)) is not None:
            tests.setdefault(dataset, {})[column] = own
    return tests


def _mistakes(
    label: str, seeds: Sequence[int], tests: Tests, data: Path | None, faults: list[str]
) -> dict[str, page.Gallery]:
    """Return the most confident errors of a method by data set."""
    galleries: dict[str, page.Gallery] = {}
    for dataset, of_columns in tests.items():
        first, *_ = own = list(of_columns.values())
        if pictures := gallery(dataset, own, data):
            galleries[dataset] = (f"{label}, seed {first.result.get('seed')}" if len(seeds) > 1 else label, pictures)
            if lacking := sum(not one.picture for one in pictures):
                where = f"not found in {data}" if data else "not shown, because the folder of the data sets is unknown"
                faults.append(
                    f"{lacking} of {len(pictures)} images of the most confident errors on {dataset} were {where}."
                )
    return galleries


def _draw(measured: figures.Measured, label: str, tests: Tests, faults: list[str], folder: Path) -> dict[str, str]:
    """Draw every figure that has something to show; file names and captions."""
    wanted: dict[str, Callable[[Path], str]] = {}
    if measured.experiment.added is not None:
        wanted.update(_report_of_rounds().figures(measured.results))
    elif measured.labels:
        if measured.experiment.protocol == "few_shot":
            wanted["curves.png"] = partial(figures.shots, measured)
        else:
            wanted["methods.png"] = partial(figures.methods, measured)
            wanted["datasets.png"] = partial(figures.datasets, measured)
        wanted["ood.png"] = partial(figures.unknown_classes, measured)
        wanted["tokens.png"] = partial(figures.tokens, measured)
        wanted["cost.png"] = partial(figures.costs, measured)
    if measured.labels:
        wanted["losses.png"] = partial(figures.loss_curves, measured, faults)
    if measured.experiment.feature_map is not None:
        wanted["features.png"] = partial(figures.feature_map, measured, measured.experiment.feature_map, faults)
    for dataset, of_columns in tests.items():
        wanted[f"confusion_{dataset}.png"] = partial(figures.confusions, label, dataset, of_columns)
    folder.mkdir(parents=True, exist_ok=True)
    drawn = {name: make(folder / name) for name, make in wanted.items()}
    remark = tables.apart(measured.sections)
    return {name: said + remark * (name != "tokens.png") for name, said in drawn.items() if said}


def _main(argv: list[str] | None) -> int:
    args = parse(argv)
    plan, found = gather(args)
    write_plan(plan, found, args.to or folder_of(plan, args.out), args.data)
    return 1 if any(map(tables.lacking, found)) else 0


def main(argv: list[str] | None = None) -> int:
    """Print the tables and write the report; 1 if a run is missing, 2 after a message on what is wrong."""
    return programs.report(_main, argv)


def card(
    experiment: Experiment,
    results: Results,
    runs: Sequence[str],
    clip: Mapping[str, Any],
    repo: str,
    license_id: str = "",
) -> str:
    """The card: what the runs are, numbers with their seeds, what is missing, how to load.

    Args:
        experiment: what was to be run.
        results: its results.
        runs: folders of the runs in the repository.
        clip: what is known of the CLIP of the first.
        repo: "owner/name".
        license_id: as a hub calls it.
    """
    from modprompt.use.sharing import header, how_to_load  # late: it brings torch

    _, sections, about = tables_of(experiment, results)
    methods = ", ".join(line.label for line in results.lines)
    notes: dict[str, Sequence[str]] = {
        _MISSING: tables.lacking(results),
        "Warnings": alike.warnings(results),
        _CLIPS: alike.clips(results),
        _SOURCES: tables.sources(sections),
    }
    models = counted(len(runs), "trained model")
    facts = f"This repository contains {models} of {methods}, trained with protocol {experiment.protocol} on "
    facts += f"{', '.join(results.datasets)}."
    return pages.markdown(
        "experiments/reporting/card.md.j2",
        header=header("", clip, license_id),
        tables=tables.markdown(sections, experiment.title, about, notes),
        facts=facts,
        runs=runs,
        **how_to_load(repo, clip, runs[0]),
    )
