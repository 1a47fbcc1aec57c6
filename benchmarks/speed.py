"""Compare modprompt with a plain implementation on this machine: step time, evaluation time and peak memory.

    python -m benchmarks.speed                    measures everything, about 12 minutes on 2 cores
    python -m benchmarks.speed --quick            measures a few cases
    python -m benchmarks.speed --reference DIR    compares with a checkout of the official MPL repository, too
    python -m benchmarks.speed --classes 21000    measures only one training step with this number of classes

Each measurement runs in a separate process, alternating between the two sides. Times are medians. The program prints a
Markdown table and writes the table and all numbers to benchmarks/results/.
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from benchmarks.cases import Case, needed_flops, stepper
from modprompt.io.files import write_json, write_whole
from modprompt.programs import report

ROUNDS = 5  # of both sides of a figure with at least as many repeats
RESULTS = Path(__file__).parent / "results"
Row = tuple[str, Case, Case, str, int, str]


def measure(case: Case, repeats: int, threads: int) -> dict[str, Any]:
    """Seconds of each repeat after one that does not count, and peak memory of this process in GiB."""
    torch.set_num_threads(threads)
    run = stepper(case)
    if not case.images and case.classes <= 1000:
        run()  # the first is slower
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    peak_gib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return {"seconds": seconds, "peak_gib": peak_gib}


def in_a_process(case: Case, repeats: int, threads: int) -> dict[str, Any]:
    """`measure` in a separate process."""
    words = [sys.executable, "-m", "benchmarks.speed", "--one", json.dumps([case._asdict(), repeats, threads])]
    done = subprocess.run(words, capture_output=True, text=True, check=False, cwd=Path(__file__).parent.parent)
    if done.returncode:
        last_line = (done.stderr.strip().splitlines() or ["no output"])[-1]
        raise RuntimeError(f"The measurement of {case} failed: {last_line}")
    measured: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return measured


def matrix_peak(threads: int) -> float:
    """Rate of float32 matrix products here, in FLOP/s: medians of several sizes, the best of them."""
    torch.set_num_threads(threads)
    rates = []
    for n in (1024, 2048, 3072):
        a, b = torch.randn(n, n), torch.randn(n, n)
        seconds = []
        for _ in range(12):
            start = time.perf_counter()
            a @ b
            seconds.append(time.perf_counter() - start)
        rates.append(2 * n**3 / statistics.median(seconds))
    return max(rates)


def matrix_share(threads: int) -> tuple[float, float, float, float]:
    """Share of the peak, needed FLOPs, seconds of a step, peak in FLOP/s; steps and products measured in turn."""
    case = Case("ours")
    flops, run = needed_flops(case), stepper(case)
    run()
    seconds, peaks = [], []
    for _ in range(ROUNDS):
        peaks.append(matrix_peak(threads))
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    step, peak = statistics.median(seconds), statistics.median(peaks)
    return flops / step / peak, flops, step, peak


def rows(quick: bool, reference: str) -> Iterator[Row]:
    """(name, numerator case, denominator case, quantity, repeats of both, bound)."""
    if reference:
        for classes, repeats in ((5, 15), (50, 5)):
            sides = Case(reference, classes=classes), Case("ours", classes=classes)
            yield f"step time, official MPL / ours, {classes} classes", *sides, "seconds", repeats, ""
    mpl = [(5, 15, 1.3), (50, 5, 3.0)] + ([] if quick else [(200, 5, 10.0)])
    for classes, repeats, least in mpl:
        sides = Case("plain", classes=classes), Case("ours", classes=classes)
        yield f"step time, plain / ours, {classes} classes", *sides, "seconds", repeats, f">= {least}"
    if not quick:
        many = Case("ours", classes=1000)
        yield "peak memory and step time at 1000 classes, ours", many, many, "peak_gib", 2, "<= 6 GiB"
        sides = Case("ours", classes=200), Case("plain", classes=200)
        yield "peak memory, ours / plain, 200 classes", *sides, "peak_gib", 3, "<= 0.38"
        plain = Case("plain", classes=200, batch=20, images=400)
        sides = plain, plain._replace(side="ours")
        yield "evaluation of 400 images, 200 classes, plain / ours", *sides, "seconds", 1, ">= 2.5"
    sides = Case("plain", "CoCoOp", classes=50), Case("ours", "CoCoOp", classes=50)
    yield "CoCoOp step, batch 4, 50 classes, plain / ours", *sides, "seconds", 3, ">= 6"
    sides = Case("ours", precision="bf16"), Case("ours")
    yield "bf16 step / fp32 step, ours, 5 classes", *sides, "seconds", 15, "<= 0.6"


def value(measured: Mapping[str, Any], quantity: str) -> float:
    """A measurement's median seconds or its memory."""
    return float(statistics.median(measured["seconds"]) if quantity == "seconds" else measured["peak_gib"])


def alongside(sides: Iterable[Case], planned: Iterable[Row]) -> list[Case]:
    """All planned cases that differ from one of these only in their side: they are measured in turn."""
    alike = {case._replace(side="") for case in sides}
    return list(dict.fromkeys(case for row in planned for case in row[1:3] if case._replace(side="") in alike))


def table(threads: int, planned: Iterable[Row]) -> tuple[str, list[dict[str, Any]]]:
    """The table of the planned rows, and all measurements."""
    known: dict[Case, dict[str, Any]] = {}
    lines = ["| figure | measured | asked for | the two sides |", "| --- | --- | --- | --- |"]
    planned = list(planned)
    for name, above, below, quantity, repeats, asked in tqdm(planned):
        missing = [case for case in alongside((above, below), planned) if case not in known]
        rounds = ROUNDS if repeats >= ROUNDS else 1
        for case in missing * rounds:  # in turn, since machines slow down and speed up
            measured = in_a_process(case, repeats // rounds, threads)
            earlier = known.get(case, {"seconds": [], "peak_gib": 0.0})
            measured["seconds"] = earlier["seconds"] + measured["seconds"]
            measured["peak_gib"] = max(earlier["peak_gib"], measured["peak_gib"])
            known[case] = measured
        top, bottom = value(known[above], quantity), value(known[below], quantity)
        unit = "s" if quantity == "seconds" else "GiB"
        if above == below:
            step = value(known[above], "seconds")
            lines.append(f"| {name} | {top:.2f} {unit} | {asked} | {step:.2f} s a step |")
        else:
            lines.append(f"| {name} | {top / bottom:.2f} | {asked} | {top:.2f} / {bottom:.2f} {unit} |")
    return "\n".join(lines), [{**case._asdict(), **measured} for case, measured in known.items()]


def share_row(threads: int) -> tuple[str, dict[str, float]]:
    """The row of the share of the matrix-product peak, and its numbers."""
    share, flops, step, peak = matrix_share(threads)
    rates = f"{flops / step / 1e9:.0f} / {peak / 1e9:.0f} GFLOP/s"
    row = f"| share of the matrix-product peak, 5 classes, fp32 | {share:.2f} | >= 0.8 | {rates} |"
    return row, {"peak_flops": peak, "needed_flops": flops}


def run(args: argparse.Namespace) -> None:
    """Print the chosen table and write it."""
    head = f"{platform.machine()}, {args.threads} threads, torch {torch.__version__}, ViT-B/16 size, random weights"
    text, measurements = table(args.threads, rows(args.quick, args.reference))
    row, peaks = share_row(args.threads)
    text = f"{text}\n{row}"
    print(f"{head}\n\n{text}")
    write_whole(RESULTS / "speed.md", f"{head}\n\n{text}\n")
    write_json(RESULTS / "speed.json", {"machine": head, "measurements": measurements, **peaks})


def main(argv: list[str] | None = None) -> int:
    """Print the table and write it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="skip cases that take minutes")
    parser.add_argument(
        "--threads", type=int, default=torch.get_num_threads(), help="number of PyTorch threads (default: %(default)s)"
    )
    parser.add_argument("--reference", default="", help="a checkout of the official MPL repository")
    parser.add_argument("--classes", type=int, help="measure only one training step with this number of classes")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.one:
        case, repeats, threads = json.loads(args.one)
        print(json.dumps(measure(Case(**case), repeats, threads)))
        return 0
    if args.classes:
        measured = in_a_process(Case("ours", classes=args.classes), 1, args.threads)
        print(f"{args.classes} classes: {measured['seconds'][0]:.1f} s per step, peak {measured['peak_gib']:.2f} GiB")
        return 0
    return report(run, args)


if __name__ == "__main__":
    sys.exit(main())
