"""Record the reports and plans of the shipped experiments, and compare two records.

    python -m benchmarks.record_experiments make OUT --runs RUNS [--checkout DIR] [--only NAME ...]
    python -m benchmarks.record_experiments compare BEFORE AFTER

`make` runs the experiments in NAMES with the checkout DIR (default: this one) into the folder RUNS, where finished runs
are kept, and copies the CSV, Markdown, LaTeX and JSON files of their reports to OUT. It also records the output of
`modprompt experiment run NAME --dry-run` for every file in configs/experiments.

`compare` masks seconds, versions, times, paths and hashes, maps the names that version 0.3.0 changed, and prints every
remaining difference. The exit code is 1 if there is a difference.
"""

from __future__ import annotations

import argparse
import csv
import difflib
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from modprompt.checks import RENAMED
from modprompt.io.files import copy_whole, write_whole

ROOT = Path(__file__).resolve().parent.parent
NAMES = ("demo", "why_prompts", "few_shot_digits", "active_digits")
KINDS = (".csv", ".md", ".tex", ".json")
_TIMED = re.compile(r"(?:_s|seconds?|time|memory|mib|gib)\b|step_ms", re.IGNORECASE)  # columns of CSV files
_MASKS = (  # (pattern, text that replaces it), applied in this order
    (re.compile(r"\b[0-9a-f]{8,64}\b"), "<hash>"),
    (re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:Z|[+-]\d\d:?\d\d)?"), "<time>"),
    (re.compile(r"\b\d[\d,.]*(?: ± [\d,.]+)? ?(?:s|ms|min|seconds|minutes|hours|h|MiB|GiB|MB|GB)\b"), "<amount>"),
    (re.compile(r"\b\d+\.\d+\.\d+(?:\.?dev\d*)?(?:\+\w+)?"), "<version>"),
    (re.compile(r"""(?<![\w.])/[^\s"',:;)|]+"""), "<path>"),
    (re.compile(r'("[a-z_]*(?:_s|seconds|_mib|_bytes|mtime|time)": )[\d.e+-]+'), r"\1<amount>"),
)


def make(out: Path, runs: Path, checkout: Path, names: list[str]) -> None:
    """Run experiments and record their reports and all plans.

    Args:
        out: folder of the record; it must not exist.
        runs: output folder of the runs. Finished runs in this folder are used again.
        checkout: the checkout whose programs run.
        names: the experiments to run, each with a report.

    Raises:
        SystemExit: if `out` exists, or if a command fails.
    """
    if out.exists():
        raise SystemExit(f"The folder {out} exists. Choose another folder for the record.")
    with tempfile.TemporaryDirectory() as empty:
        files = (checkout / "configs/experiments").glob("*.yaml")
        for path in sorted(one for one in files if not one.name.endswith(".selected.yaml")):
            plan = _run(checkout, "experiment", "run", path.stem, "--dry-run", "--out", empty)
            write_whole(out / "plans" / f"{path.stem}.txt", plan)
    for name in names:
        _run(checkout, "experiment", "run", name, "--report", "--out", str(runs))
        report = runs / "reports" / name
        for path in sorted(report.rglob("*")):
            if path.suffix in KINDS:
                copy_whole(path, out / "reports" / name / path.relative_to(report))


def _run(checkout: Path, *words: str) -> str:
    environment = {"OMP_NUM_THREADS": "1", **os.environ, "PYTHONPATH": str(checkout), "PYTHONSAFEPATH": "1"}
    program = [sys.executable, "-m", "modprompt", *words]
    done = subprocess.run(program, cwd=checkout, env=environment, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"`modprompt {' '.join(words)}` failed with exit code {done.returncode} in {checkout}.")
    return done.stdout


def masked(path: Path) -> list[str]:
    """Return the lines of a recorded file with masks, and with current names instead of renamed ones."""
    lines = path.read_text(encoding="utf-8").splitlines()
    if path.suffix == ".csv":
        lines = [",".join(cells) for cells in _without_times(lines)]
    for at, line in enumerate(lines):
        for old, new in RENAMED.items():
            line = re.sub(rf"(?<![\w.-]){re.escape(old)}(?![\w-])", new, line)
        line = line.replace("INPUT.DECODING family", "INPUT.DECODING dassl").replace(
            "INPUT.DECODING people", "INPUT.DECODING photo"
        )
        for pattern, mask in _MASKS:
            line = pattern.sub(mask, line)
        lines[at] = line
    return lines


def _without_times(lines: list[str]) -> Iterator[list[str]]:
    """Yield the rows of a CSV file with a mask in the columns that measure time or memory."""
    rows = list(csv.reader(lines))
    timed = [at for at, name in enumerate(rows[0] if rows else []) if _TIMED.search(name)]
    for number, row in enumerate(rows):
        yield [("<amount>" if number and at in timed and cell else cell) for at, cell in enumerate(row)]


def compare(before: Path, after: Path) -> int:
    """Print the differences between two records, and return the number of files that differ."""
    files = sorted({path.relative_to(side) for side in (before, after) for path in side.rglob("*") if path.is_file()})
    differing = 0
    for file in files:
        old, new = (masked(side / file) if (side / file).is_file() else [] for side in (before, after))
        found = list(difflib.unified_diff(old, new, str(before / file), str(after / file), lineterm="", n=0))
        differing += bool(found)
        print("\n".join(found), end="\n" * bool(found))
    print(f"{len(files)} files were compared, and {differing} of them differ.")
    return differing


def main() -> int:
    """Run the command, and return its exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    making = commands.add_parser("make", help="run the experiments and record their reports and plans")
    making.add_argument("out", type=Path, help="folder of the record")
    making.add_argument("--runs", type=Path, required=True, help="output folder of the runs; finished runs are kept")
    making.add_argument("--checkout", type=Path, default=ROOT, help="checkout whose programs run (default: this one)")
    making.add_argument("--only", nargs="+", choices=NAMES, default=list(NAMES), help="run only these experiments")
    comparing = commands.add_parser("compare", help="print the differences between two records")
    comparing.add_argument("before", type=Path)
    comparing.add_argument("after", type=Path)
    args = parser.parse_args()
    if args.command == "make":
        make(args.out, args.runs.absolute(), args.checkout.absolute(), args.only)
        return 0
    return int(compare(args.before, args.after) > 0)


if __name__ == "__main__":
    sys.exit(main())
