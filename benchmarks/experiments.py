"""The time to scan and report three thousand finished runs, with figures and page.

    python -m benchmarks.experiments

The other side of the ratio only reads the same result files.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from modprompt.experiments.plan import protocols, spec
from modprompt.places import ROOT
from tests.modprompt.experiments.fakes import finish

FILE = """
title: Three thousand runs
protocol: few_shot
datasets: [caltech101, dtd, eurosat, fgvc_aircraft, food101, imagenet, oxford_flowers, oxford_pets, stanford_cars,
  sun397, ucf101]
shots: [1, 2, 4, 8, 16]
seeds: [1, 2, 3]
methods:
  CLIP: {trainer: ZeroshotCLIP, config: vit_b16}
  MPL:
    trainer: MPL
    config: vit_b4_c1_add2_rm1
    grid: {OPTIM.LR: [0.001, 0.002, 0.003, 0.004, 0.005, 0.006], TRAINER.MPL.N_ADD_OP: [1, 2, 3]}
"""


def make(folder: Path) -> tuple[Path, int]:
    """The experiment file and the results of all its runs in a folder; the file, and how many runs it has."""
    file = folder / "thousands.yaml"
    file.write_text(FILE, encoding="utf-8")
    jobs, rng = protocols.jobs(spec.read(file)), random.Random(0)
    for job in jobs:
        finish(job, folder / "output", 60 + 30 * rng.random())
    return file, len(jobs)


def seconds(*words: str) -> float:
    """Wall time of a command, with its interpreter's start."""
    began = time.perf_counter()
    subprocess.run([sys.executable, *words], stdout=subprocess.DEVNULL, check=True, cwd=ROOT)
    return time.perf_counter() - began


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3, help="number of repeats, whose median is printed")
    repeats = parser.parse_args().repeats
    with tempfile.TemporaryDirectory() as name:
        file, runs = make(Path(name))
        out = str(Path(name) / "output")
        reports, scans, reads = [], [], []
        for _ in range(repeats):
            began = time.perf_counter()
            for path in Path(out).rglob("result.json"):
                json.loads(path.read_bytes())
            reads.append(time.perf_counter() - began)
            reports.append(seconds("-m", "modprompt", "experiment", "report", str(file), "--out", out))
            scans.append(seconds("-m", "modprompt", "experiment", "status", str(file), "--out", out))
    report, scan, read = (sorted(values)[repeats // 2] for values in (reports, scans, reads))
    print(f"{runs} finished runs: report {report:.2f} s, status {scan:.2f} s, reading the files alone {read:.2f} s")
    print(f"report / reading alone: {report / read:.1f}")


if __name__ == "__main__":
    main()
