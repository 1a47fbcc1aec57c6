"""A run of train.py on a small folder of images, for what only whole runs show."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from benchmarks.cases import random_clip
from benchmarks.gpu.task import Place
from modprompt.clip.cast import cast_products
from modprompt.places import ROOT

FOLDERS = ("river", "forest", "lake", "highway")  # of the classes
DRAWN = 40  # different images at most; the other files are copies


def write_images(folder: Path, per_class: int, sides: Sequence[int]) -> None:
    """Class folders with JPEGs, width x height, as smooth as photographs are."""
    rng = np.random.default_rng(0)
    drawn: list[bytes] = []
    for number in range(per_class * len(FOLDERS)):
        path = folder / FOLDERS[number % len(FOLDERS)] / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        if number < DRAWN:
            coarse = Image.fromarray(rng.integers(0, 255, (sides[1] // 8, sides[0] // 8, 3), dtype=np.uint8))
            coarse.resize((sides[0], sides[1]), Image.Resampling.BICUBIC).save(path, quality=90)
            drawn.append(path.read_bytes())
        else:
            path.write_bytes(drawn[number % DRAWN])


def prepare(folder: Path, place: Place, *, train: int, test: int, sides: Sequence[int]) -> list[str]:
    """Write weights and images into a folder; the words for train.py to run MPL on them, without --output-dir.

    Args:
        folder: where all of it goes.
        place: where it runs.
        train: images of a class to train on.
        test: images of a class to test on.
        sides: width and height of an image.
    """
    clip_model = random_clip(place.layers, place.size)
    cast_products(clip_model, torch.float16)
    torch.save(clip_model.state_dict(), folder / "clip.pt")
    for part, count in (("train", train), ("test", test)):
        write_images(folder / "images" / part, count, sides)
    flags = {
        "--trainer": "MPL",
        "--root": folder / "images",
        "--seed": 1,
        "--config-file": ROOT / "configs/trainers/MPL/vit_b4_c1_add2_rm1.yaml",
        "--dataset-config-file": ROOT / "configs/datasets/image_folder.yaml",
    }
    options = {
        "MODEL.BACKBONE.PATH": folder / "clip.pt",
        "MODEL.BACKBONE.ACTIVATION": "quick_gelu",
        "MODEL.BACKBONE.HEADS": (8, 12),
        "INPUT.SIZE": (place.size, place.size),
        "TRAINER.MPL.PROMPT_DEPTH": min(9, place.layers),
        "DATASET.NUM_SHOTS": train,
        "DATALOADER.NUM_WORKERS": place.choose(min(8, os.cpu_count() or 1), 1),
    }
    return [str(word) for pair in (*flags.items(), *options.items()) for word in pair]


def train(words: Sequence[str], out: Path, kill_at: str = "") -> str:
    """Run train.py in a separate process; its output.

    Args:
        words: of its command line.
        out: its --output-dir.
        kill_at: the beginning of a line at which it is killed; "" lets it end.

    Raises:
        RuntimeError: if it fails, or ends before that line.
    """
    at = words.index("--seed")  # flags come before settings
    program = [sys.executable, "-u", str(ROOT / "train.py"), *words[:at], "--output-dir", str(out), *words[at:]]
    lines: list[str] = []
    with subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            lines.append(line)
            if kill_at and line.startswith(kill_at):
                process.send_signal(signal.SIGKILL)
                break
        process.stdout.close()
    if (process.returncode != 0) != bool(kill_at) or (kill_at and not lines[-1].startswith(kill_at)):
        raise RuntimeError(f"train.py ended with {process.returncode}: {lines[-1].strip() if lines else 'no output'}")
    return "".join(lines)
