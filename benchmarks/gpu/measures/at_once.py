"""Two and three runs on one GPU at once, as plain processes, against one after the other."""

from __future__ import annotations

import json
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks.gpu.programs import prepare, train
from benchmarks.gpu.rows import at_least
from benchmarks.gpu.task import Found, Place, Task


def _together(words: list[str], folder: Path, count: int) -> dict[str, float]:
    """Seconds that `count` runs take at once, and the longest training among them."""
    outs = [folder / f"{count}-{number}" for number in range(count)]
    began = time.perf_counter()
    with ThreadPoolExecutor(count) as pool:
        list(pool.map(lambda out: train(words, out), outs))
    seconds = time.perf_counter() - began
    trained = [json.loads((out / "result.json").read_text(encoding="utf-8"))["training_s"] for out in outs]
    return {"seconds": seconds, "training_s": max(trained)}


def measure(task: Task, place: Place) -> Found:
    """Runs per hour at once over runs per hour one after the other; above 1 it pays."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sides = place.choose((500, 375), (48, 36))
        words = prepare(folder, place, train=place.choose(32, 4), test=place.choose(32, 4), sides=sides)
        words += ["OPTIM.MAX_EPOCH", str(place.choose(5, 1)), "TRAINER.MPL.PREC", task.precision]
        words[words.index("DATALOADER.NUM_WORKERS") + 1] = str(place.choose(2, 0))
        found = {count: _together(words, folder, count) for count in (1, 2, 3)}
    rows = []
    for count in (2, 3):
        for key, what in (("seconds", "whole runs"), ("training_s", "training alone")):
            one, many = found[1][key], found[count][key]
            figure = f"{count} runs at once, {task.what}, {what}: runs an hour / one after the other"
            detail = f"1 run {one:.1f} s, {count} runs {many:.1f} s"
            ratio = count * one / many if many else float("nan")
            rows.append(at_least(figure, ratio, 1, detail, judged=not place.dry_run))
    return Found(rows, {"at_once": {str(count): one for count, one in found.items()}})
