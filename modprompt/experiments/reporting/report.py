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
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from modprompt import programs
from modprompt.errors import UserError
from modprompt.experiments.plan import arguments, spec
from modprompt.experiments.plan.experiment import OF_TREES, Experiment, Plan
from modprompt.experiments.plan.inputs import Inputs
from modprompt.experiments.plan.protocols import jobs
from modprompt.experiments.reporting import (
    comparable,
    comparisons,
    cost,
    diagnostics,
    origins,
    page,
    published,
    render,
    table,
)
from modprompt.experiments.reporting.comparable import clips, warnings
from modprompt.experiments.reporting.figures import draw
from modprompt.experiments.reporting.figures.layout import Look, can_draw
from modprompt.experiments.reporting.measured import Measured, looks_of
from modprompt.experiments.reporting.results import Results, of_experiment, untested
from modprompt.experiments.reporting.trees import add_tree, experiment_of_tree
from modprompt.experiments.running import state, status
from modprompt.io import pages
from modprompt.io.files import write_json, write_whole
from modprompt.io.tables import write_table
from modprompt.io.text import markdown_text


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
        "--attention",
        type=int,
        default=0,
        metavar="N",
        help="show where each method looks in N misclassified test images of each data set",
    )
    add(
        "--tsne",
        action="store_true",
        help="show image features of zero-shot CLIP and of the highlighted method, as t-SNEs",
    )
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
        raise UserError(f"--with: {draw.report_of_rounds().NO_TREES}")
    for word in trees:
        label, equals, folder = word.partition("=")
        labelled = equals and not Path(word).is_dir()
        root = Path(folder if labelled else word)
        add_tree(found[0], plan.parts[0], root, label if labelled else root.absolute().name)
    return plan, found


def _tables(experiment: Experiment, results: Results) -> tuple[list[table.Section], str]:
    """The tables, and what their numbers are."""
    if experiment.added is None:
        sections = table.sections(experiment, results)
        return sections, render.caption(experiment, sections)
    of_rounds = draw.report_of_rounds()
    sections = of_rounds.sections(experiment, results)
    return sections, f"{render.caption(experiment, sections)} {of_rounds.ABOUT}"


def write_plan(
    plan: Plan,
    found: Sequence[Results],
    folder: Path,
    data: Path | None = None,
    attention: int = 0,
    tsne: bool = False,
) -> None:
    """Write the report of a plan and print its tables: each part into its own folder, and one page of all.

    Args:
        plan: what was to be run.
        found: the results of each of its parts.
        folder: of the report.
        data: folder of the data sets, where the pictures of the page are.
        attention: how many test images of each data set are shown with what methods look at.
        tsne: whether image features are shown.
    """
    if not plan.has_parts:
        write(plan.parts[0], found[0], folder, data, attention, tsne=tsne)
        return
    names, looks = [part.name for part in plan.parts], looks_of(list(zip(plan.parts, found)))
    reports = [
        write(part, results, folder / part.name, data, attention, part.name, looks, tsne)
        for part, results in zip(plan.parts, found)
    ]
    write_whole(folder / "index.html", page.page(plan.title, reports, names, plan.notes))
    print("\n".join(filter(None, [plan.notes, f"Written to {folder}: index.html, the page of all parts"])))


def write(
    experiment: Experiment,
    results: Results,
    folder: Path,
    data: Path | None = None,
    attention: int = 0,
    part: str = "",
    looks: Mapping[str, Look] | None = None,
    tsne: bool = False,
) -> page.Report:
    """Write all files of a report into a folder, each whole, and print the tables.

    Args:
        experiment: what was run.
        results: its results.
        folder: of the report.
        data: folder of the data sets, where the pictures of the page are.
        attention: how many test images of each data set are shown with what methods look at.
        part: its name on a page of several; empty if it is alone.
        looks: of the methods of the whole page; without it those of this report alone.
        tsne: whether image features are shown.

    Returns:
        What its page shows.
    """
    sections, about = _tables(experiment, results)
    of_rounds = None if experiment.added is None else draw.report_of_rounds()
    measured = Measured(experiment, results, sections, looks or looks_of([(experiment, results)]))
    left = diagnostics.read(measured)
    clouds = _clouds(measured, data, left.faults) if tsne and can_draw() else {}
    pictures = draw.draw(measured, left, folder, clouds) if can_draw() else []
    more, unseen = diagnostics.more(measured, left, data, attention)
    own = comparable.class_notes(experiment, results)
    found = comparisons.comparisons(experiment, results)
    compared = found if found and found.tables else None
    notes: dict[str, Sequence[str]] = {
        "No mean, since runs are missing or differ": table.lacking(results),
        "Pairs left out": found.left_out if found else [],
        "Without test images": untested(results),
        **cost.stages(results),
        **(of_rounds.notes(results) if of_rounds else {}),
        "Warnings": warnings(results),
        "Not shown": [*draw.left_out(experiment), *left.faults, *unseen],
        "CLIPs": clips(results),
        "Published figures": render.sources(sections),
        "Notes": [note for note in (experiment.notes, experiment.chosen, *own, published.note_of(experiment)) if note],
    }
    spent, accuracy = cost.costs(experiment, results, sections), cost.accuracy_name(sections)
    more = more._replace(cost=cost.texts(spent, accuracy), compared=compared)
    beside = [*(_markdown_of(compared) if compared else []), *render.markdown_texts("Cost", cost.ABOUT, more.cost)]
    text = render.markdown(sections, experiment.title, about, notes, beside)
    write_whole(folder / "report.md", text)
    tables = {"report.csv": (render.columns_of_csv(sections), render.rows_of_csv(sections))}
    tables.update(of_rounds.tables(results) if of_rounds else {})
    if spent:
        tables[cost.FILE_NAME] = (list(cost.COLUMNS_OF_CSV), cost.rows_of_csv(spent, accuracy))
    (folder / comparisons.FILE_NAME).unlink(missing_ok=True)  # of an earlier report that compared another
    if compared:
        tables[comparisons.FILE_NAME] = (comparisons.columns_of_csv(compared), comparisons.rows_of_csv(compared))
    if experiment.together:
        halves = [one for section in sections for one in section.details[:1]]
        tables["together.csv"] = (render.columns_of_csv(halves), render.rows_of_csv(halves))
    for name, (columns, rows) in tables.items():
        write_table(folder / name, columns, rows)
    tex = _latex_of(compared) if compared else ""
    write_whole(folder / "report.tex", render.latex(sections, experiment.title, about) + tex)
    write_json(folder / origins.REPORT_FILE, origins.content(experiment, results, sections, compared))
    shown = page.report_of(sections, pictures, folder, experiment.title, about, notes, more, part)
    write_whole(folder / "index.html", page.page(experiment.title, [shown]))
    print(text)
    first, *others = tables
    files = ["index.html", "report.md", first, "report.tex", origins.REPORT_FILE, *others]
    print(f"Written to {folder}: {', '.join(files)}{' and figures' if can_draw() else ''}")
    if not can_draw():
        print("warning: the report has no figures: they need matplotlib, pip install matplotlib", file=sys.stderr)
    return shown


def _markdown_of(compared: comparisons.Comparisons) -> list[str]:
    """The tables of differences; what they all are is above the first."""
    lines = list[str]()
    for one in compared.tables:
        about = one.about if lines else f"{compared.about} {one.about}"
        title = markdown_text(f"{compared.title}, {one.title}")
        lines += render.markdown_texts(title, markdown_text(about), one.texts(compared.name), own_form=True)
    return lines


def _latex_of(compared: comparisons.Comparisons) -> str:
    """The same; each caption says all."""
    return "".join(
        render.latex_texts(f"{compared.title}, {one.title}", f"{compared.about} {one.about}", one.texts(compared.name))
        for one in compared.tables
    )


def _clouds(measured: Measured, data: Path | None, faults: list[str]) -> Mapping[str, Any]:
    from modprompt.experiments.reporting import embedding  # late: it brings torch

    return embedding.of_report(measured, data, faults)


def _main(argv: list[str] | None) -> int:
    args = parse(argv)
    if args.attention < 0:
        raise UserError(f"--attention must be 0 or more, got {args.attention}")
    plan, found = gather(args)
    write_plan(plan, found, args.to or folder_of(plan, args.out), args.data, args.attention, args.tsne)
    return 1 if any(map(table.lacking, found)) else 0


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

    sections, about = _tables(experiment, results)
    methods = ", ".join(line.label for line in results.lines)
    notes: dict[str, Sequence[str]] = {
        "No mean, since runs are missing or differ": table.lacking(results),
        "Warnings": warnings(results),
        "CLIPs": clips(results),
        "Published figures": render.sources(sections),
    }
    facts = f"Protocol {experiment.protocol}; {', '.join(results.datasets)}; {methods}; {len(runs)} trained models."
    return pages.markdown(
        "experiments/reporting/card.md.j2",
        header=header("", clip, license_id),
        tables=render.markdown(sections, experiment.title, about, notes),
        facts=facts,
        runs=runs,
        **how_to_load(repo, clip, runs[0]),
    )
