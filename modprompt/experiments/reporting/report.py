"""Tables and figures of an experiment's finished runs: Markdown, CSV, LaTeX, JSON, PNG and PDF, and one HTML page.

    modprompt experiment report base2new
    modprompt experiment report base2new --with theirs=/path/to/MaPLe/output
    modprompt experiment report /path/to/CoOp/output --protocol few_shot

FILE is an experiment file, the name of one in configs/experiments, or an output folder of a CoOp-family codebase, whose
log files are read (./digits is a folder, digits the experiment). Missing runs are listed and never averaged over, nor
are runs that differ in what averaged runs must have in common.
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
from modprompt.checks import some
from modprompt.errors import UserError
from modprompt.experiments.plan import arguments, spec
from modprompt.experiments.plan.experiment import OF_TREES, Experiment, Plan
from modprompt.experiments.plan.inputs import Inputs
from modprompt.experiments.plan.protocols import jobs
from modprompt.experiments.reporting import alike, compare, cost, figures, origins, page, published, tables
from modprompt.experiments.reporting.recorded import Mistake, Recorded, gallery, recorded
from modprompt.experiments.reporting.results import Results, of_experiment, untested
from modprompt.experiments.reporting.tables import Numbers, Section
from modprompt.experiments.reporting.trees import add_tree, experiment_of_tree
from modprompt.experiments.running import state, status
from modprompt.io import pages
from modprompt.io.files import is_inside, read_bytes, write_json, write_whole
from modprompt.io.records import parse_json
from modprompt.io.tables import write_table

PAGE, LIST = "index.html", "files.json"  # the page; the list of what a report has written
_MOST_CLOSE = 3  # methods whose tests are looked at closely


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
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
        help="other output trees, read from their logs",
    )
    add("--to", type=Path, default=None, help="folder of the report (default: reports/<name> in the output folder)")
    add(
        "--selected-on-test",
        "--marked",
        action="store_true",
        help="also show results that were selected on test or on a whole split",
    )
    add("--protocol", choices=OF_TREES, default="base2new", help="of an output folder's runs")
    add("--shots", type=int, nargs="+", default=[], help="of an output folder's runs")
    return parser.parse_args(argv)


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
        one = experiment_of_tree(Path(args.file), args.protocol, tuple(args.seeds), tuple(args.shots))
        plan = Plan(one.name, one.title, one.notes, {}, (one,))
        found = [of_experiment(one, [])]  # no runs of ours
        trees.insert(0, f"logs={args.file}")
    else:
        plan = arguments.plan_of(args)
        inputs = Inputs(args.out, args.data)
        states = state.of_all(jobs(*plan.parts), args.out, inputs)
        found = [of_experiment(part, states, args.out, args.selected_on_test) for part in plan.parts]
        for line in status.not_compared(states, inputs):
            print(f"warning: {line}", file=sys.stderr)
    if trees and len(found) > 1:
        raise UserError(f"--with: {plan.name} has several parts: name one, --parts {plan.parts[0].name}")
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
    from modprompt.active import report  # late: it stands on this room

    return report


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
    before = _listed(folder)
    parts = list(zip(plan.parts, found))
    looks = figures.looks(parts)
    if plan.has_parts:
        shown = [write(part, results, folder / part.name, looks, data, part.name) for part, results in parts]
        names = [f"{part.name}/{name}" for part, (_, own) in zip(plan.parts, shown) for name in own]
        pages = [one for one, _ in shown]
        write_whole(folder / PAGE, page.page(plan.title, pages, plan.notes))
        print("\n".join(filter(None, [plan.notes, f"Written to {folder}: {PAGE}, the page of all parts"])))
        names.append(PAGE)
    else:
        names = write(*parts[0], folder, looks, data)[1]
    write_json(folder / LIST, sorted([*names, LIST]))
    for name in before - {*names, LIST}:
        (folder / name).unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # of a part, which has no other file
            (folder / name).parent.rmdir()
    others = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()} - {*names, LIST}
    if others:
        print(f"note: {folder} also has files that are not of this report: {some(sorted(others))}", file=sys.stderr)
    if not figures.can_draw():
        print("warning: the report has no figures: they need matplotlib, pip install matplotlib", file=sys.stderr)


def _listed(folder: Path) -> set[str]:
    """The files that the earlier report in a folder has written, by their paths from there."""
    try:
        names = parse_json(read_bytes(folder / LIST))
    except (OSError, ValueError):  # there is none, or it was edited
        return set()
    return {name for name in names if isinstance(name, str) and is_inside(name)} if isinstance(names, list) else set()


def write(
    experiment: Experiment,
    results: Results,
    folder: Path,
    looks: Mapping[str, figures.Look],
    data: Path | None = None,
    part: str = "",
) -> tuple[page.Report, list[str]]:
    """Write all files of a report into a folder, each whole, and print the tables.

    Args:
        experiment: what was run.
        results: its results.
        folder: of the report.
        looks: of the methods of the whole page.
        data: folder of the data sets, where the pictures of the page are.
        part: its name on a page of several; empty if it is alone.

    Returns:
        What its page shows, and the names of its files.
    """
    numbers, sections, about = tables_of(experiment, results)
    measured, faults = figures.Measured(experiment, results, numbers, sections, looks), list[str]()
    tests = _tests(measured, faults)
    drawn = _draw(measured, tests, faults, folder) if figures.can_draw() else {}
    mistakes = _mistakes(measured, tests, data, faults)
    found = compare.compare(experiment, results, numbers)
    compared = found if found and found.tables else None
    notes = _notes(experiment, results, sections, found, faults)
    spent, accuracy = cost.costs(experiment, results, sections), cost.accuracy_name(sections)
    costs = cost.texts(spent, accuracy)
    shown = page.Report(
        title=experiment.title,
        about=about,
        finding=compare.finding(experiment, results, numbers, sections),
        name=part,
        sections=[*sections[-1:], *sections[:-1]],
        origins=origins.origins(experiment, results),
        pictures=[page.picture(folder / name, said) for name, said in drawn.items()],
        mistakes=mistakes,
        compared=compared,
        costs=costs,
        notes=notes,
        mine=_mine(experiment, results),
    )
    csvs = {"report.csv": (tables.columns_of_csv(sections), tables.rows_of_csv(sections))}
    csvs.update({} if experiment.added is None else _report_of_rounds().tables(results))
    if compared:
        csvs[compare.FILE_NAME] = compare.csv_of(compared)
    if spent:
        csvs[cost.FILE_NAME] = (list(cost.COLUMNS_OF_CSV), cost.rows_of_csv(spent, accuracy))
    if experiment.together:
        halves = [one for section in sections for one in section.details[:1]]
        csvs["together.csv"] = (tables.columns_of_csv(halves), tables.rows_of_csv(halves))
    for name, (columns, cells) in csvs.items():
        write_table(folder / name, columns, cells)
    more, tex = list[str](), tables.latex(sections, experiment.title, about)
    for title, said, head, rows in compared.texts() if compared else ():
        whole = f"{compared.about} {said}"  # type: ignore[union-attr]
        more += tables.markdown_texts(title, said if more else whole, head, rows, own_form=True)
        tex += "\n" + tables.latex_texts(title, whole, head, rows)
    more += tables.markdown_texts("Cost", cost.ABOUT, costs[0], costs[1:]) if costs else []
    text, alone = tables.markdown(sections, experiment.title, about, notes, more), shown._replace(name="")
    write_whole(folder / "report.md", text)
    write_whole(folder / "report.tex", tex)
    write_whole(folder / PAGE, page.page(experiment.title, [alone]))
    head, rows_of_csv = csvs.get(compare.FILE_NAME, ([], []))
    differences = [dict(zip(head, row)) for row in rows_of_csv]
    write_json(folder / "report.json", origins.content(experiment, results, sections, differences))
    print(text)
    first, *others = csvs
    files = [PAGE, "report.md", first, "report.tex", "report.json", *others]
    print(f"Written to {folder}: {', '.join(files)}{' and figures' if drawn else ''}")
    return shown, [*files, *drawn, *(str(Path(name).with_suffix(".pdf")) for name in drawn)]


def _notes(
    experiment: Experiment,
    results: Results,
    sections: Sequence[Section],
    found: compare.Comparison | None,
    faults: Sequence[str],
) -> dict[str, Sequence[str]]:
    """Lists below the tables, by their headings."""
    own = [experiment.notes, experiment.chosen, *alike.class_notes(experiment, results), published.note_of(experiment)]
    return {
        "No mean, since runs are missing or differ": tables.lacking(results),
        "Pairs left out": found.left_out if found else [],
        "Without test images": untested(results),
        **cost.stages(results),
        **({} if experiment.added is None else _report_of_rounds().notes(results)),
        "Warnings": alike.warnings(results),
        "Not shown": faults,
        "CLIPs": alike.clips(results),
        "Published figures": tables.sources(sections),
        "Notes": list(filter(None, own)),
    }


def _mine(experiment: Experiment, results: Results) -> list[str]:
    """Labels of the method that a report is about, unless all are its."""
    mine = [one.label for one in results.lines if experiment.highlight in (one.family, one.panel)]
    return mine if len(mine) < len(results.lines) else []


Tests = dict[str, dict[str, dict[str, Recorded]]]  # by data set, half or shots, and method


def _tests(measured: figures.Measured, faults: list[str]) -> Tests:
    """What the tests of a few methods recorded, the report's own first."""
    found: Tests = {}
    close = measured.closest(_MOST_CLOSE) if measured.labels else []
    close.sort(key=lambda label: label != measured.mine)
    for (dataset, column), runs in figures.views(measured).items() if close else ():
        own = {label: one for label in close if (one := recorded(runs.get(label, ()), faults)) is not None}
        found.setdefault(dataset, {})[column] = own
    return found


def _mistakes(
    measured: figures.Measured, tests: Tests, data: Path | None, faults: list[str]
) -> dict[str, tuple[str, list[Mistake]]]:
    """By data set the method whose mistakes are shown, the report's own where it has any, and the gallery."""
    found = {}
    for dataset, of_columns in tests.items():
        labels = dict.fromkeys(label for own in of_columns.values() for label in own)
        for label in labels:
            own = [of[label] for of in of_columns.values() if label in of]
            pictures = gallery(dataset, own, data)
            if pictures:
                many = len(measured.line(label).seeds) > 1
                found[dataset] = (f"{label}, seed {own[0].result.get('seed')}" if many else label, pictures)
                if lacking := sum(not one.picture for one in pictures):
                    where = f"not below {data}"
                    faults.append(f"{lacking} of {len(pictures)} pictures of the worst mistakes on {dataset}: {where}")
                break
    return found


def _draw(measured: figures.Measured, tests: Tests, faults: list[str], folder: Path) -> dict[str, str]:
    """Draw every figure that has something to show; file names and captions."""
    experiment, wanted = measured.experiment, dict[str, Callable[[Path], str]]()
    if experiment.added is not None:
        wanted.update(_report_of_rounds().figures(measured.results))
    if experiment.added is None and measured.labels:
        if experiment.protocol == "few_shot":
            wanted["curves.png"] = partial(figures.shots, measured)
        else:
            wanted["methods.png"] = partial(figures.methods, measured)
            wanted["datasets.png"] = partial(figures.datasets, measured)
        wanted["tokens.png"] = partial(figures.tokens, measured)
        wanted["cost.png"] = partial(figures.costs, measured)
    if measured.labels:
        wanted["losses.png"] = partial(figures.loss_curves, measured, faults)
    for dataset, of_columns in tests.items():
        wanted[f"confusion_{dataset}.png"] = partial(figures.confusions, of_columns)
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
    from modprompt.use.card import header, how_to_load  # late: it brings torch

    _, sections, about = tables_of(experiment, results)
    methods = ", ".join(line.label for line in results.lines)
    notes: dict[str, Sequence[str]] = {
        "No mean, since runs are missing or differ": tables.lacking(results),
        "Warnings": alike.warnings(results),
        "CLIPs": alike.clips(results),
        "Published figures": tables.sources(sections),
    }
    facts = f"Protocol {experiment.protocol}; {', '.join(results.datasets)}; {methods}; {len(runs)} trained models."
    return pages.markdown(
        "experiments/reporting/card.md.j2",
        header=header("", clip, license_id),
        tables=tables.markdown(sections, experiment.title, about, notes),
        facts=facts,
        runs=runs,
        **how_to_load(repo, clip, runs[0]),
    )
