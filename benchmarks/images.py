"""One test set evaluated five times, as for a table, with kept test images (TEST.IMAGE_CACHE) and without.

    python -m benchmarks.images                                 three rounds of both sides in turn
    python -m benchmarks.images --images 200 --rounds 1         for a quick try

It makes JPEGs of 500 x 375 and a tiny CLIP for images of 224 pixels in a temporary folder, so that almost all of the
time is spent on images. Each evaluation has its own trainer, as each run has, whose building and imports do not count.
With kept images the first of the five writes them, which counts. All must give the same result.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import io
import os
import platform
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import PIL
import torch
from PIL import Image
from tqdm import tqdm

from modprompt.clip.package import import_clip
from modprompt.compat import find as compat
from modprompt.io.settings import Settings
from modprompt.places import ROOT

TIMES = 5
CLASSES = ("crop land", "forest", "highway", "lake", "river")
SIZE = (500, 375)


class Round(NamedTuple):
    """Seconds of five evaluations that decode, and of five with kept images, the first of which writes them."""

    decoded: list[float]
    kept: list[float]


class Figures(NamedTuple):
    """Medians over rounds, in seconds.

    decoded, kept: of five evaluations.
    one_decoded, one_kept: of a single one, with images kept before.
    writing: additional time of the first.
    """

    decoded: float
    kept: float
    one_decoded: float
    one_kept: float
    writing: float


def _picture(rng: np.random.Generator) -> Image.Image:
    """Smooth colours with fine grain; its JPEG is about as large as a photo's."""
    colours = Image.fromarray(rng.integers(0, 256, (9, 12, 3), dtype=np.uint8)).resize(SIZE, Image.Resampling.BICUBIC)
    grain = rng.normal(0, 6, (SIZE[1], SIZE[0], 1))
    return Image.fromarray(np.clip(np.asarray(colours) + grain, 0, 255).astype(np.uint8))


def prepare(folder: Path, number: int) -> None:
    """A tiny CLIP, and class folders with a training image each and `number` test images in all."""
    rng = np.random.default_rng(0)
    for count in tqdm(range(-len(CLASSES), number), desc="making images"):
        where = folder / "images" / ("train" if count < 0 else "test") / CLASSES[count % len(CLASSES)]
        where.mkdir(parents=True, exist_ok=True)
        _picture(rng).save(where / f"{count}.jpg", quality=90)
    import_clip()
    torch.manual_seed(0)
    tiny = importlib.import_module("clip.model").CLIP(32, 224, 1, 64, 32, 77, 49408, 64, 1, 1)
    torch.save(tiny.state_dict(), folder / "clip.pt")


def _trainer(folder: Path, kept: Path | None, workers: int) -> Any:
    """A zero-shot trainer over the test set, as in a run that only tests."""
    compat.add_to_path()
    from dassl.engine import build_trainer

    import modprompt.trainers.run  # noqa: F401 - registers all
    from modprompt.trainers.run_config import from_words

    files = [ROOT / "configs/datasets/image_folder.yaml", ROOT / "configs/trainers/CoOp/vit_b16.yaml"]
    options = ["MODEL.BACKBONE.PATH", folder / "clip.pt", "MODEL.BACKBONE.ACTIVATION", "quick_gelu"]
    options += ["MODEL.BACKBONE.HEADS", (1, 1), "DATALOADER.NUM_WORKERS", workers, "OUTPUT_DIR", ""]
    options += ["TEST.IMAGE_CACHE", kept or "", "USE_CUDA", False]
    flags = {"DATASET.ROOT": str(folder / "images"), "TRAINER.NAME": "ZeroshotCLIP"}
    return build_trainer(from_words(Settings.read(map(str, files), flags, [str(word) for word in options])))


def _evaluations(folder: Path, kept: Path | None, workers: int) -> tuple[list[float], set[float]]:
    """Seconds of each of five evaluations, and their results."""
    seconds, results = [], set()
    for _ in range(TIMES):
        trainer = _trainer(folder, kept, workers)
        start = time.perf_counter()
        results.add(trainer.test())
        seconds.append(time.perf_counter() - start)
    return seconds, results


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    nowhere = io.StringIO()
    with contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere):
        yield


def one_round(folder: Path, workers: int, first: str) -> Round:
    """Both sides once, with nothing kept before.

    Args:
        folder: from prepare.
        workers: processes that decode.
        first: the first side, "decoded" or "kept".

    Raises:
        RuntimeError: if results differ.
    """
    shutil.rmtree(folder / "kept", ignore_errors=True)
    sides = {"decoded": None, "kept": folder / "kept"}
    found, results = {}, set()
    for side in sorted(sides, key=lambda side: side != first):
        with _silent():
            found[side], some = _evaluations(folder, sides[side], workers)
        results |= some
    if len(results) != 1:
        raise RuntimeError(f"the evaluations give different results: {sorted(results, key=str)}")
    return Round(**found)


def figures(rounds: list[Round]) -> Figures:
    """The medians of some rounds."""
    one_kept = statistics.median(seconds for one in rounds for seconds in one.kept[1:])
    return Figures(
        decoded=statistics.median(sum(one.decoded) for one in rounds),
        kept=statistics.median(sum(one.kept) for one in rounds),
        one_decoded=statistics.median(seconds for one in rounds for seconds in one.decoded),
        one_kept=one_kept,
        writing=statistics.median(one.kept[0] for one in rounds) - one_kept,
    )


def table(found: Figures, images: int, size: int) -> str:
    """The figures as Markdown.

    Args:
        found: the figures.
        images: their number.
        size: bytes of the file of kept images.
    """
    rows = [
        (f"{TIMES} evaluations, the first writes", found.decoded, found.kept),
        ("an evaluation of images that are kept", found.one_decoded, found.one_kept),
    ]
    lines = ["| | decoded | kept | ratio |", "| --- | --- | --- | --- |"]
    lines += [f"| {what} | {one:.2f} s | {other:.2f} s | {one / other:.2f} |" for what, one, other in rows]
    per_second = f"{images / found.one_decoded:.0f} | {images / found.one_kept:.0f}"
    lines.append(f"| images per second | {per_second} | |")
    lines.append(f"| writing takes more | | {found.writing:.2f} s | |")
    lines.append(f"| on disk | | {size / 2**20:.0f} MiB, {size / images / 1000:.1f} kB per image | |")
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> int:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=1000, help="test images")
    parser.add_argument("--rounds", type=int, default=3, help="number of rounds, whose medians are printed")
    parser.add_argument("--workers", type=int, default=2, help="DATALOADER.NUM_WORKERS")
    parser.add_argument("--folder", help="where the temporary folder goes")
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(dir=args.folder) as name:
        folder = Path(name)
        prepare(folder, args.images)
        rounds = [
            one_round(folder, args.workers, ("decoded", "kept")[number % 2])
            for number in tqdm(range(args.rounds), desc="rounds")
        ]
        (file,) = (folder / "kept").glob("*.npy")
        size = file.stat().st_size
    print(
        f"{args.images} JPEGs of {SIZE[0]} x {SIZE[1]}, {args.workers} workers, median of {args.rounds} rounds; "
        f"{platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}, Pillow {PIL.__version__}\n"
    )
    print(table(figures(rounds), args.images, size))
    return 0


if __name__ == "__main__":
    sys.exit(main())
