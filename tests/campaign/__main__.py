"""Run the campaign from a seed and print its table; exit code 1 if anything was not survived.

python -m tests.campaign [--seed 1] [--only PART ...] [--share 1.0] [--jobs 2] [--out FOLDER]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tqdm import tqdm

from tests.campaign.figures import Figure, table
from tests.campaign.parts import PARTS, ROOT, Part, command

LIMIT_S = 3600  # of a part: one that hangs is found; kills take more than 15 minutes on a loaded machine


def run_part(part: Part, folder: Path, seed: int, share: float) -> list[Figure]:
    """Figures of a part, run in a process of its own; a process that ends badly or too late is a fault."""
    answer, log = folder / f"{part.name}.json", folder / f"{part.name}.log"
    words = command(part, folder / part.name, seed, share, answer)
    try:
        with log.open("wb") as out:
            code = subprocess.run(words, cwd=ROOT, stdout=out, stderr=out, timeout=LIMIT_S).returncode
        why = f"its process ended with code {code}"
    except subprocess.TimeoutExpired:
        code, why = 1, f"it took longer than {LIMIT_S} s"
    if code == 0:
        return [Figure.of_json(one) for one in json.loads(answer.read_text(encoding="utf-8"))]
    last = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-1:]
    return [Figure(part.name, 1, faults=[f"{part.name}: {why}: {''.join(last)[:300]} (see {log})"])]


def campaign(parts: list[Part], folder: Path, seed: int, share: float, jobs: int) -> list[Figure]:
    """Figures of all parts, in their order; some at once, one line each as they end."""
    bar = tqdm(total=len(parts), desc="campaign", unit="part", bar_format="{desc}: {n}/{total} parts, {elapsed}")

    def one(part: Part) -> list[Figure]:
        start = time.monotonic()
        figures = run_part(part, folder, seed, share)
        tried, faults = sum(f.tried for f in figures), sum(len(f.faults) for f in figures)
        bar.write(f"{part.name}: {tried} tried, {faults} not survived, {time.monotonic() - start:.0f} s")
        bar.update()
        return figures

    with bar, ThreadPoolExecutor(jobs) as pool:
        return [figure for figures in pool.map(one, parts) for figure in figures]


def main(argv: list[str]) -> int:
    """Run what is asked for; print the table, and each fault."""
    parser = argparse.ArgumentParser(prog="python -m tests.campaign", description=__doc__.split("\n")[0])
    parser.add_argument("--seed", type=int, default=1, help="from which all is drawn")
    parser.add_argument("--only", nargs="+", metavar="PART", choices=[part.name for part in PARTS])
    parser.add_argument("--share", type=float, default=1.0, help="of all there is to try, above 0 to 1")
    parser.add_argument("--jobs", type=int, default=2, help="parts at once")
    parser.add_argument("--out", type=Path, help="keep what was left behind there")
    args = parser.parse_args(argv)
    parts = [part for part in PARTS if not args.only or part.name in args.only]
    with tempfile.TemporaryDirectory(prefix="campaign-", ignore_cleanup_errors=True) as scratch:
        folder = (args.out or Path(scratch)).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        start = time.monotonic()
        figures = campaign(parts, folder, args.seed, args.share, args.jobs)
        print(f"\nSeed {args.seed}, {(time.monotonic() - start) / 60:.0f} minutes.\n\n{table(figures)}")
    faults = [fault for figure in figures for fault in figure.faults]
    for fault in faults:
        print(f"not survived: {fault}")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
