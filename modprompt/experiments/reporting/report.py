"""Tables and figures of an experiment's finished runs: Markdown, CSV, LaTeX, PNG, and one HTML page with all of it.

    python -m modprompt experiment report base2new
    python -m modprompt experiment report base2new --with theirs=/path/to/MaPLe/output
    python -m modprompt experiment report /path/to/CoOp/output --protocol few_shot

FILE is an experiment file, the name of one in configs/experiments, or an output folder of a CoOp-family codebase, whose
log files are read (./digits is a folder, digits the experiment). Missing runs are listed and never averaged over.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Sequence

from modprompt import programs
from modprompt.errors import UserError
from modprompt.experiments.plan import arguments, spec
from modprompt.experiments.plan.experiment import OF_TREES, Experiment
from modprompt.experiments.plan.inputs import Inputs
from modprompt.experiments.plan.protocols import jobs
from modprompt.experiments.reporting import figures, page, published, render, round_tables, rounds, searches, table
from modprompt.experiments.reporting.results import (
    Results,
    add_tree,
    clips,
    experiment_of_tree,
    of_experiment,
    warnings,
)
from modprompt.experiments.running import state, status
from modprompt.storage.pictures import can_draw
from modprompt.storage.tables import write_table
from modprompt.storage.text import write_whole


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
        help="other output trees, by their logs",
    )
    add("--to", type=Path, default=None, help="folder of the report (default: reports/<name> in the output folder)")
    add("--protocol", choices=OF_TREES, default="base2new", help="of an output folder's runs")
    add("--shots", type=int, nargs="+", default=[], help="of an output folder's runs")
    return parser.parse_args(argv)


def folder_of(experiment: Experiment, out: Path) -> Path:
    """Where an experiment's report goes."""
    return out / "reports" / experiment.name


def gather(args: argparse.Namespace) -> tuple[Experiment, Results]:
    """The experiment and all its results.

    Raises:
        UserError: on a fault in the file or a folder without runs.
    """
    trees = list(args.trees)
    if Path(args.file).is_dir() and not (spec.FILES / f"{args.file}.yaml").is_file():
        experiment = experiment_of_tree(Path(args.file), args.protocol, tuple(args.seeds), tuple(args.shots))
        results = of_experiment(experiment, [])  # no runs of ours
        trees.insert(0, f"logs={args.file}")
    else:
        experiment = arguments.experiment_of(args)
        inputs = Inputs(args.out, args.data)
        states = state.of_all(jobs(experiment), args.out, inputs)
        results = of_experiment(experiment, states)
        for line in status.not_compared(states, inputs):
            print(f"warning: {line}", file=sys.stderr)
    if experiment.active is not None and trees:
        raise UserError("--with: the log files of rounds do not say their labels: protocol active takes no other trees")
    for word in trees:
        label, equals, folder = word.partition("=")
        labelled = equals and not Path(word).is_dir()
        root = Path(folder if labelled else word)
        add_tree(results, experiment, root, label if labelled else root.absolute().name)
    return experiment, results


def write(experiment: Experiment, results: Results, folder: Path) -> None:
    """Write all files of a report into a folder, each whole, and print the tables."""
    has_rounds = experiment.active is not None
    sections = (round_tables if has_rounds else table).sections(experiment, results)
    about = render.caption(experiment.protocol, experiment.seeds) + (f" {round_tables.ABOUT}" if has_rounds else "")
    notes: dict[str, Sequence[str]] = {
        "Not averaged over": table.lacking(results),
        "Without test images": round_tables.untested(results),
        "Searches": searches.lines(results),
        "Labels that models gave for nothing": round_tables.free_labels(results),
        "Time": round_tables.times(results),
        "Warnings": warnings(results),
        "CLIPs": clips(results),
        "Published figures": render.sources(sections),
        "Notes": [note for note in (experiment.notes, published.note_of(experiment)) if note],
    }
    text = render.markdown(sections, experiment.title, about, notes)
    write_whole(folder / "report.md", text)
    write_table(folder / "report.csv", render.columns_of_csv(sections), render.rows_of_csv(sections))
    write_whole(folder / "report.tex", render.latex(sections, experiment.title, about))
    if has_rounds:
        write_table(folder / "rounds.csv", rounds.COLUMNS, rounds.rows_of_csv(results))
    drawn = figures.draw(experiment, results, sections, folder) if can_draw() else []
    write_whole(folder / "index.html", page.page(sections, drawn, folder, experiment.title, about, notes))
    print(text)
    files = ["index.html", "report.md", "report.csv", "report.tex", *(["rounds.csv"] if has_rounds else [])]
    print(f"Written to {folder}: {', '.join(files)}{' and figures' if can_draw() else ''}")
    if not can_draw():
        print("warning: the report has no figures: they need matplotlib, pip install matplotlib", file=sys.stderr)


def _main(argv: list[str] | None) -> int:
    args = parse(argv)
    experiment, results = gather(args)
    write(experiment, results, args.to or folder_of(experiment, args.out))
    return 1 if table.lacking(results) else 0


def main(argv: list[str] | None = None) -> int:
    """Print the tables and write the report; 1 if a run is lacking, 2 after one line on what is wrong."""
    return programs.report(_main, argv)
