"""Images per second of a run's evaluation, decoded each time and from the image cache (TEST.IMAGE_CACHE)."""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.gpu.clock import in_turn, medians
from benchmarks.gpu.programs import FOLDERS, prepare
from benchmarks.gpu.rows import at_least
from benchmarks.gpu.task import Found, Place, Task
from modprompt.cli.flags import parse_args, settings_of
from modprompt.compat import find as compat


def _trainer(words: Sequence[str]) -> Any:
    compat.add_to_path()
    from dassl.engine import build_trainer  # only now can it be found
    from dassl.utils import set_random_seed

    import modprompt.trainers.run  # noqa: F401 - registers all trainers and readers
    from modprompt.trainers import run_config

    cfg = run_config.from_words(settings_of(parse_args(list(words))))
    set_random_seed(cfg.SEED)
    return build_trainer(cfg)


def _test(trainer: Any, number: int) -> object:
    return trainer.test()


def measure(task: Task, place: Place) -> Found:
    """Both, in turn, after one evaluation each that does not count: it decodes and keeps the images."""
    per_class = place.choose(500, 4)
    images = per_class * len(FOLDERS)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        words = prepare(folder, place, train=4, test=per_class, sides=place.choose((500, 375), (64, 48)))
        words += ["TRAINER.MPL.PREC", task.precision]
        caches = {"decoded": "", "kept": str(folder / "cache")}
        trainers = {
            kind: _trainer([*words, *(["TEST.IMAGE_CACHE", cache] if cache else [])]) for kind, cache in caches.items()
        }
        accuracies = {kind: trainer.test() for kind, trainer in trainers.items()}
        if len(set(accuracies.values())) > 1:
            raise RuntimeError(f"accuracy with and without the cache differs: {accuracies}")
        calls: dict[str, Callable[[int], object]] = {
            kind: functools.partial(_test, trainer) for kind, trainer in trainers.items()
        }
        rounds = place.choose(3, 1)
        ms = medians(in_turn(calls, place.device, rounds=rounds, round_ms=1.0, warm_up=0))
        workers = trainers["decoded"].cfg.DATALOADER.NUM_WORKERS
    rate = {kind: 1000 * images / taken for kind, taken in ms.items()}
    figure = f"evaluation of {images} JPEGs, {task.what}, {workers} workers: with image cache / without"
    detail = f"{rate['kept']:.0f} / {rate['decoded']:.0f} images/s"
    row = at_least(figure, ms["decoded"] / ms["kept"], 1, detail, judged=not place.dry_run)
    return Found([row], {"images_per_s": rate})
