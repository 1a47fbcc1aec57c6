"""Base-to-new results as a table (Markdown, CSV) and a figure (PNG), read from the logs of an output folder.

    python -m tools.result_table output --seeds 1 2 3

H is the harmonic mean of the mean base and mean new accuracy, as papers print it; the deviation is over seeds (of H:
of the seeds' own H), with n in the denominator. A data set or method with a missing or unfinished run has no mean.
"""

from __future__ import annotations

import argparse
import csv
import io
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np

from modprompt.errors import UserError
from modprompt.files import write_whole
from tools.figures import pyplot, save_figure
from tools.logs import read_run

BASE_FOLDERS, NEW_FOLDER = ("train_base", "test_base"), "test_new"


class Cell(NamedTuple):
    """Mean and standard deviation over seeds, in percent."""

    mean: float
    std: float


class Row(NamedTuple):
    """One method on one data set: its three cells, or None and the runs that are not there."""

    dataset: str
    method: str
    cells: tuple[Cell, Cell, Cell] | None
    lacking: list[str]


def harmonic_mean(base_pct: float, new_pct: float) -> float:
    """2bn / (b + n) of base and new accuracy in percent (CoCoOp, arXiv 2203.05557); 0 if both are 0.

    Raises:
        ValueError: if an accuracy is outside 0 to 100.
    """
    for value in (base_pct, new_pct):
        if not 0 <= value <= 100:
            raise ValueError(f"an accuracy must be from 0 to 100, got {value}")
    total = base_pct + new_pct
    return 2 * base_pct * new_pct / total if total else 0.0


def _runs(root: Path) -> list[tuple[str, str, str]]:
    """All (data set, shots/trainer/config, half's folder) below root/base2new."""
    found = []
    for half in (*BASE_FOLDERS, NEW_FOLDER):
        for path in sorted((root / "base2new" / half).glob("*/*/*/*")):
            if path.is_dir():
                dataset, *method = path.relative_to(root / "base2new" / half).parts
                found.append((dataset, "/".join(method), half))
    return found


def _row(root: Path, dataset: str, method: str, base_folder: str, seeds: list[int]) -> Row:
    values, lacking = {"base": [], "new": []}, []
    for half, folder in (("base", base_folder), ("new", NEW_FOLDER)):
        for seed in seeds:
            path = root / "base2new" / folder / dataset / method / f"seed{seed}"
            result = read_run(path)
            if result.accuracy_pct is None:
                lacking.append(f"{path.relative_to(root)}: {result.reason}")
            else:
                values[half].append(result.accuracy_pct)
    if lacking:
        return Row(dataset, method, None, lacking)
    return Row(dataset, method, _cells(values["base"], values["new"]), [])


def _cells(base: list[float], new: list[float]) -> tuple[Cell, Cell, Cell]:
    own = [harmonic_mean(b, n) for b, n in zip(base, new)]
    mean = harmonic_mean(float(np.mean(base)), float(np.mean(new)))
    return Cell(np.mean(base), np.std(base)), Cell(np.mean(new), np.std(new)), Cell(mean, np.std(own))


def _average(rows: list[Row], method: str, datasets: list[str]) -> Row:
    """A method's mean over all data sets of the table; its deviation is the mean of theirs."""
    lacking = [f"average of {method}: {row.dataset} is incomplete" for row in rows if row.cells is None]
    there = {row.dataset for row in rows}
    lacking += [f"average of {method}: no run on {dataset}" for dataset in datasets if dataset not in there]
    if lacking:
        return Row("average", method, None, lacking)
    base, new, own = (
        Cell(np.mean([row.cells[i].mean for row in rows]), np.mean([row.cells[i].std for row in rows]))
        for i in range(3)
    )
    return Row("average", method, (base, new, Cell(harmonic_mean(base.mean, new.mean), own.std)), [])


def collect(root: Path, seeds: list[int]) -> list[Row]:
    """Rows of all methods on all data sets under an output folder, and averages where there are several data sets.

    Raises:
        UserError: if there is no base-to-new run below the folder.
    """
    runs = _runs(root)
    if not runs:
        raise UserError(f"no base-to-new run below {root}: expected {root}/base2new/train_base/<data set>/...")
    rows = []
    pairs = sorted({run[:2] for run in runs}, key=lambda pair: (pair[0], "Zeroshot" not in pair[1], pair[1]))
    for dataset, method in pairs:
        base = next((half for half in BASE_FOLDERS if (dataset, method, half) in runs), BASE_FOLDERS[0])
        rows.append(_row(root, dataset, method, base, seeds))
    methods = list(dict.fromkeys(row.method for row in rows))
    datasets = sorted({row.dataset for row in rows})
    if len(datasets) > 1:
        rows += [_average([row for row in rows if row.method == method], method, datasets) for method in methods]
    return rows


def markdown(rows: list[Row], seeds: list[int]) -> str:
    """The table, and under it every run that is missing or unfinished."""
    lines = [
        f"Accuracy in percent, mean +- standard deviation over seeds {', '.join(map(str, seeds))}.",
        "",
        "| data set | method | base | new | H |",
        "| --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        cells = [f"{cell.mean:.2f} +- {cell.std:.2f}" for cell in row.cells] if row.cells else ["incomplete"] * 3
        lines.append(f"| {row.dataset} | {row.method} | {' | '.join(cells)} |")
    lacking = [text for row in rows for text in row.lacking]
    if lacking:
        lines += ["", "Not averaged over, because missing or unfinished:", "", *(f"- {text}" for text in lacking)]
    return "\n".join(lines) + "\n"


def comma_separated(rows: list[Row]) -> str:
    """The table as CSV; incomplete rows have empty cells."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    names = [f"{half}_{what}_pct" for half in ("base", "new", "h") for what in ("mean", "std")]
    writer.writerow(["dataset", "method", *names, "lacking_runs"])
    for row in rows:
        numbers = [f"{x:.4f}" for cell in row.cells for x in cell] if row.cells else [""] * 6
        writer.writerow([row.dataset, row.method, *numbers, len(row.lacking)])
    return out.getvalue()


def figure(rows: list[Row], path: Path) -> None:
    """A panel per data set: base, new and H of each method as points with deviations; incomplete ones are left out."""
    plt = pyplot()
    complete = [row for row in rows if row.cells]
    datasets = list(dict.fromkeys(row.dataset for row in complete))
    panels = [[row for row in complete if row.dataset == dataset] for dataset in datasets]
    fig, all_axes = plt.subplots(
        len(panels),
        figsize=(8, 1.4 + 0.3 * len(complete) + 0.6 * len(panels)),
        height_ratios=[len(panel) + 1 for panel in panels],
        layout="constrained",
        squeeze=False,
    )
    for axes, dataset, panel in zip(all_axes[:, 0], datasets, panels):
        _draw(axes, panel)
        axes.set_title(dataset, fontsize=10, loc="left")
    all_axes[-1, 0].set_xlabel("accuracy (%), mean and standard deviation over seeds")
    handles, labels = all_axes[0, 0].get_legend_handles_labels()
    fig.legend(handles, labels, ncols=3, loc="outside upper center", fontsize=9, frameon=False)
    save_figure(fig, path)


def _draw(axes, rows: list[Row]) -> None:
    lines = np.arange(len(rows))
    for cell, (name, marker, colour) in enumerate(
        (("base", "o", "#4c72b0"), ("new", "s", "#dd8452"), ("H", "D", "#2f7d4f"))
    ):
        axes.errorbar(
            [row.cells[cell].mean for row in rows],
            lines + (cell - 1) * 0.15,
            xerr=[row.cells[cell].std for row in rows],
            fmt=marker,
            color=colour,
            markersize=5,
            capsize=2,
            label=name,
        )
    for line, row in enumerate(rows):
        axes.annotate(
            f"{row.cells[2].mean:.2f}", (1.01, line), xycoords=("axes fraction", "data"), fontsize=8, va="center"
        )
    axes.annotate("H", (1.01, -0.8), xycoords=("axes fraction", "data"), fontsize=8, annotation_clip=False)
    axes.set_yticks(lines, [row.method.split("/", 1)[-1] for row in rows], fontsize=8)
    axes.set_ylim(len(rows) - 0.4, -0.6)  # the first row on top
    axes.grid(axis="y", color="0.92")
    axes.spines[["top", "right"]].set_visible(False)


def _write(rows: list[Row], text: str, root: Path) -> list[str]:
    """Write table and figure; an older figure goes if there is nothing to draw. Returns the names."""
    write_whole(root / "base2new.md", text)
    write_whole(root / "base2new.csv", comma_separated(rows))
    if not any(row.cells for row in rows):
        (root / "base2new.png").unlink(missing_ok=True)
        return ["base2new.md", "base2new.csv"]
    figure(rows, root / "base2new.png")
    return ["base2new.md", "base2new.csv", "base2new.png"]


def main(argv: list[str] | None = None) -> int:
    """Print the table and write base2new.md, .csv and .png into the output folder; 1 if a run is lacking."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path, nargs="?", default=Path("output"), help="output folder of the runs")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3], help="seeds every row must have")
    args = parser.parse_args(argv)
    try:
        rows = collect(args.root, args.seeds)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    text = markdown(rows, args.seeds)
    print(text)
    try:
        print(f"Written to {args.root}: {', '.join(_write(rows, text, args.root))}")
    except OSError as error:
        print(f"error: cannot write the table into {args.root} ({error.strerror})", file=sys.stderr)
        return 2
    return 1 if any(row.lacking for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
