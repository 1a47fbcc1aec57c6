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
import re
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import pandas as pd

from modprompt import programs
from modprompt.errors import UserError
from modprompt.experiments.plan import arguments
from modprompt.experiments.plan import file as experiment_file
from modprompt.experiments.plan.experiment import OF_TREES, Plan
from modprompt.experiments.plan.inputs import Inputs
from modprompt.experiments.plan.protocols import jobs
from modprompt.experiments.reporting import compare, cost, figures, notes, origins, page, published, rounds, tables
from modprompt.experiments.reporting.logs import add_log_files, experiment_of_folder
from modprompt.experiments.reporting.recorded import StoredTests, gallery, read_tests
from modprompt.experiments.reporting.runs import Runs, collect
from modprompt.experiments.reporting.tables import Summary
from modprompt.experiments.running import state, status
from modprompt.io.figures import WHY_NONE, can_draw
from modprompt.io.files import write_json, write_whole
from modprompt.io.tables import write_table

PAGE = "index.html"
_CLIP_MODELS, _SOURCES, _SEEDS = "CLIP models", "Sources of published results", "Published accuracies of single seeds"
_FILES = re.compile(  # the files that reports write
    r"(report|differences|cost|together|ood|rounds|rounds_new|covered|balance|curves|methods|datasets|tokens|losses|"
    r"features|confusion_\w+)\.(md|tex|json|csv|png|pdf)"
)


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """Return the arguments of a command line."""
    parser = programs.Parser(__doc__)
    add = parser.add_argument
    add("file", help="experiment file, its name in configs/experiments, or an output folder with log files")
    arguments.add_common(parser)
    arguments.add_data(parser)
    add(
        "--with",
        dest="folders",
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


def report_folder(plan: Plan, out: Path) -> Path:
    """Return the folder of a report in an output folder."""
    return out / "reports" / plan.name


def gather(args: argparse.Namespace) -> tuple[Plan, list[Runs]]:
    """Return the plan of a command line, and the runs of each of its parts.

    Raises:
        UserError: if the experiment file is wrong, or a folder contains no runs.
    """
    folders = list(args.folders)
    if Path(args.file).is_dir() and not (experiment_file.FOLDER / f"{args.file}.yaml").is_file():
        experiment = experiment_of_folder(Path(args.file), args.protocol, tuple(args.seeds), tuple(args.shots))
        plan = Plan(experiment.name, experiment.title, experiment.notes, {}, (experiment,))
        parts = [collect(experiment, [])]
        folders.insert(0, f"logs={args.file}")
    else:
        plan = arguments.plan_of(args)
        inputs = Inputs(args.out, args.data)
        states = state.of_all(jobs(*plan.parts), args.out, inputs)
        parts = [collect(part, states, args.out, args.selected_on_test) for part in plan.parts]
        for line in status.not_compared(states, inputs):
            print(f"warning: {line}", file=sys.stderr)
    if folders and len(parts) > 1:
        raise UserError(
            f"--with: {plan.name} has several parts. Select one part, for example --parts {plan.parts[0].name}."
        )
    if folders and plan.parts[0].rounds is not None:
        raise UserError(f"--with: {rounds.NO_LOG_FILES}")
    for word in folders:
        label, equals, folder = word.partition("=")
        has_label = equals and not Path(word).is_dir()
        root = Path(folder if has_label else word)
        parts[0] = add_log_files(parts[0], root, label if has_label else root.absolute().name)
    return plan, parts


def summarize(runs: Runs) -> tuple[Summary, str]:
    """Return the means and tables of runs, and the caption of the tables."""
    if runs.experiment.rounds is not None:
        means, of_rounds = rounds.tables(runs)
        return Summary(runs, means, of_rounds), f"{tables.caption(runs, of_rounds)} {rounds.ABOUT}"
    means = tables.means_of(runs)
    of_results = tables.result_tables(runs, means)
    return Summary(runs, means, of_results), tables.caption(runs, of_results)


def write_plan(plan: Plan, parts: Sequence[Runs], folder: Path, data: Path | None = None) -> None:
    """Write the report of a plan and print its tables: a folder for each part, and one page of all parts.

    Args:
        plan: the plan.
        parts: the runs of each part.
        folder: the folder of the report.
        data: the folder of the data sets, which contains the images of the page.
    """
    looks = figures.looks_of(parts)
    if plan.has_parts:
        reports = [write(runs, folder / runs.experiment.name, looks, data) for runs in parts]
        reports = [report._replace(name=runs.experiment.name) for report, runs in zip(reports, parts)]
        write_whole(folder / PAGE, page.page(plan.title, reports, plan.notes))
        print("\n".join(filter(None, [plan.notes, f"The page of all parts was written to {folder / PAGE}."])))
    else:
        write(parts[0], folder, looks, data)
    if not can_draw():
        print(f"warning: The report has no figures, {WHY_NONE}", file=sys.stderr)


def write(runs: Runs, folder: Path, looks: figures.Looks, data: Path | None = None) -> page.Report:
    """Write all files of a report, print the tables, and delete files of an earlier report that were not written.

    Args:
        runs: the runs.
        folder: the folder of the report.
        looks: the colours and markers of the methods of the page.
        data: the folder of the data sets, which contains the images of the page.

    Returns:
        The content of the page.
    """
    summary, about = summarize(runs)
    problems = list[str]()
    label = runs.highlighted() if runs.highlighted() in summary.labels else next(iter(summary.labels), "")
    tests = _read_tests(runs, label, problems)
    folder.mkdir(parents=True, exist_ok=True)
    galleries = _galleries(runs, label, tests, data, problems)
    comparison = compare.compare(summary)
    differences = pd.DataFrame() if comparison is None or comparison.frame.empty else comparison.csv()
    of_rounds = None if runs.experiment.rounds is None else rounds.frame_of_rounds(runs)
    costs, accuracy = cost.costs(summary), cost.accuracy_name(summary.tables)
    captions = _draw(summary, of_rounds, costs, looks, label, tests, problems, folder) if can_draw() else {}
    methods = runs.methods[runs.methods["family"] == runs.experiment.highlight]["label"]
    shown = page.Report(
        title=runs.experiment.title,
        finding=compare.finding(summary),
        about=about,
        tables=list(dict.fromkeys([page.methods_by_datasets(summary), *summary.tables[-1:], *summary.tables[:-1]])),
        origins=origins.origins(runs),
        pictures=[page.picture(folder / name, caption) for name, caption in captions.items()],
        galleries=galleries,
        differences=list(comparison.tables()) if comparison and not differences.empty else [],
        about_differences=(comparison.title, comparison.about) if comparison else ("", ""),
        costs=cost.texts(costs, accuracy),
        about_costs=cost.ABOUT,
        notes={
            "Missing results, and results that cannot be averaged": notes.missing(runs),
            "Missing pairs in the comparison": comparison.missing if comparison else [],
            "Runs without test images": notes.without_test_images(runs),
            "Labels given by models": [] if of_rounds is None else rounds.free_labels(of_rounds),
            "Warnings": notes.warnings(runs),
            "Missing figures and images": problems,
            _CLIP_MODELS: notes.clip_models(runs),
            _SOURCES: tables.sources(summary.tables),
            _SEEDS: published.compare_seeds(runs),
            "Notes": _notes(runs),
        },
        folded=[_CLIP_MODELS, _SOURCES, _SEEDS],
        highlighted=[*methods] if len(methods) < len(runs.methods) else [],
    )
    csvs = {"report.csv": tables.numbers_frame(summary.tables)}
    if of_rounds is not None:
        csvs[rounds.FILE_NAME] = rounds.csv(of_rounds)
    if not differences.empty:
        csvs[compare.FILE_NAME] = differences
    if not costs.empty:
        csvs[cost.FILE_NAME] = cost.csv(costs, accuracy)
    if runs.experiment.joint_test:
        csvs["together.csv"] = tables.numbers_frame([one for table in summary.tables for one in table.details[:1]])
    details = [one for table in summary.tables for one in table.details]
    if ood := [table for table in details if table.columns == tuple(tables.OOD_COLUMNS)]:
        csvs["ood.csv"] = tables.numbers_frame(ood)
    for name, frame in csvs.items():
        write_table(folder / name, list(frame.columns), frame.to_numpy().tolist())
    text = _markdown(shown, summary)
    write_whole(folder / "report.md", text)
    write_whole(folder / "report.tex", _latex(shown, summary))
    write_whole(folder / PAGE, page.page(runs.experiment.title, [shown]))
    write_json(folder / "report.json", origins.report_content(summary, differences))
    print(text)
    first, *others = csvs
    files = [PAGE, "report.md", first, "report.tex", "report.json", *others]
    print(f"The report was written to {folder}: {', '.join(files)}{' and figures' if captions else ''}.")
    kept = {*files, *captions, *(str(Path(name).with_suffix(".pdf")) for name in captions)}
    for path in folder.iterdir():
        if path.name not in kept and _FILES.fullmatch(path.name):
            path.unlink()
    return shown


def _markdown(shown: page.Report, summary: Summary) -> str:
    title, about = shown.about_differences
    more: list[str] = []
    for name, pairs, texts in shown.differences:
        caption = pairs if more else f"{about} {pairs}"
        more += tables.markdown_texts(f"{title}, {name}", caption, texts, escape_all=False)
    more += tables.markdown_texts("Cost", shown.about_costs, shown.costs)
    return tables.markdown(summary.tables, shown.title, shown.about, shown.notes, more)


def _latex(shown: page.Report, summary: Summary) -> str:
    title, about = shown.about_differences
    text = tables.latex(summary.tables, shown.title, shown.about)
    for name, pairs, texts in shown.differences:
        rows = texts.map(tables.latex_text).to_numpy().tolist()
        text += "\n" + tables.latex_table(f"{title}, {name}. {about} {pairs}", list(texts.columns), rows)
    return text


def _notes(runs: Runs) -> list[str]:
    experiment = runs.experiment
    texts = [experiment.notes, experiment.hyperparameters, *notes.class_notes(runs), published.note(experiment)]
    return list(filter(None, texts))


Tests = dict[str, dict[str, StoredTests]]  # by data set, and by half of the classes or number of shots


def _read_tests(runs: Runs, label: str, problems: list[str]) -> Tests:
    """Return what the tests of a method stored."""
    tests: Tests = {}
    for dataset in runs.datasets if label else ():
        for column in figures.columns_of_tests(runs):
            rows = figures.stored_rows(runs, label, dataset, column)
            record = None if rows is None else read_tests(rows, problems)
            if record is not None:
                tests.setdefault(dataset, {})[column] = record
    return tests


def _galleries(runs: Runs, label: str, tests: Tests, data: Path | None, problems: list[str]) -> dict[str, page.Gallery]:
    """Return the most confident errors of a method by data set."""
    galleries: dict[str, page.Gallery] = {}
    for dataset, records in tests.items():
        first, *_ = records.values()
        if mistakes := gallery(dataset, list(records.values()), data):
            has_seeds = len(runs.methods.at[label, "seeds"]) > 1
            galleries[dataset] = (f"{label}, seed {first.result.get('seed')}" if has_seeds else label, mistakes)
            if missing := sum(not mistake.picture for mistake in mistakes):
                why = f"not found in {data}" if data else "not shown, because the folder of the data sets is unknown"
                problems.append(
                    f"{missing} of {len(mistakes)} images of the most confident errors on {dataset} were {why}."
                )
    return galleries


def _draw(
    summary: Summary,
    of_rounds: pd.DataFrame | None,
    costs: pd.DataFrame,
    looks: figures.Looks,
    label: str,
    tests: Tests,
    problems: list[str],
    folder: Path,
) -> dict[str, str]:
    """Draw all figures that have something to show, and return their file names and captions."""
    runs, drawings = summary.runs, dict[str, Callable[[Path], str]]()
    if of_rounds is not None:
        drawings |= {name: partial(rounds.draw, figure, runs, of_rounds) for name, figure in rounds.FIGURES.items()}
    elif summary.labels:
        if runs.experiment.protocol == "few_shot":
            drawings["curves.png"] = partial(figures.shots, summary, looks)
        else:
            drawings["methods.png"] = partial(figures.methods, summary, looks)
            drawings["datasets.png"] = partial(figures.datasets, summary, looks)
        drawings["ood.png"] = partial(figures.ood_detection, summary, looks)
        drawings["tokens.png"] = partial(figures.tokens, summary)
        drawings["cost.png"] = partial(figures.costs, summary, costs, looks)
        drawings["losses.png"] = partial(figures.losses, summary, looks, problems)
    if runs.experiment.feature_map is not None:
        drawings["features.png"] = partial(figures.feature_map, summary, runs.experiment.feature_map, problems)
    for dataset, records in tests.items():
        drawings[f"confusion_{dataset}.png"] = partial(figures.confusions, label, dataset, records)
    captions = {name: draw(folder / name) for name, draw in drawings.items()}
    remark = tables.not_compared(summary.tables)
    return {name: caption + remark * (name != "tokens.png") for name, caption in captions.items() if caption}


def _main(argv: list[str] | None) -> int:
    args = parse(argv)
    plan, parts = gather(args)
    write_plan(plan, parts, args.to or report_folder(plan, args.out), args.data)
    return 1 if any(map(notes.missing, parts)) else 0


def main(argv: list[str] | None = None) -> int:
    """Run the command, and return its exit code: 0, 1 if a run is missing, or 2 after an error message."""
    return programs.report(_main, argv)
