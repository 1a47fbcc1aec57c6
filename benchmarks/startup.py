"""Seconds from the start of train.py to the end of its first step, the median of three.

    python -m benchmarks.startup

It makes weights of ViT-B/16's size (random, in half precision like OpenAI's) and a few images in a temporary folder.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from benchmarks.cases import vit_b16
from modprompt.clip.cast import cast_products

ROOT = Path(__file__).resolve().parent.parent
CONFIG = ROOT / "configs/trainers/MPL/vit_b4_c1_add2_rm1.yaml"


def prepare(folder: Path) -> Path:
    """Write weights, and four classes of eight images, into a folder; the path of the weights."""
    clip_model = vit_b16()
    cast_products(clip_model, torch.float16)
    torch.save(clip_model.state_dict(), folder / "clip.pt")
    rng = np.random.default_rng(0)
    for name in ("river", "forest", "lake", "highway"):
        (folder / "images" / name).mkdir(parents=True)
        for number in range(8):
            pixels = rng.integers(0, 255, (64, 64, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / "images" / name / f"{number}.png")
    return folder / "clip.pt"


def seconds_to_first_step(folder: Path, weights: Path, number: int) -> float:
    """Of one run, in a separate process."""
    words = ["--trainer", "MPL", "--root", folder / "images", "--seed", 1, "--output-dir", folder / f"out{number}"]
    words += ["--config-file", CONFIG, "--dataset-config-file", ROOT / "configs/datasets/image_folder.yaml"]
    words += ["DATASET.NUM_SHOTS", 4, "MODEL.BACKBONE.PATH", weights, "MODEL.BACKBONE.ACTIVATION", "quick_gelu"]
    words += ["MODEL.BACKBONE.HEADS", (8, 12), "TRAIN.PRINT_FREQ", 1, "OPTIM.MAX_EPOCH", 1]
    words += ["DATALOADER.NUM_WORKERS", 2, "TRAINER.MPL.PREC", "fp32", "TEST.NO_TEST", True]
    start = time.perf_counter()
    program = [sys.executable, "-u", str(ROOT / "train.py"), *map(str, words)]
    with subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("epoch [1/"):
                taken = time.perf_counter() - start
                process.kill()
                return taken
    raise RuntimeError("train.py ended before its first training step.")


def main() -> None:
    """Print the figure."""
    with tempfile.TemporaryDirectory() as name:
        weights = prepare(Path(name))
        taken = [seconds_to_first_step(Path(name), weights, number) for number in range(3)]
    each = ", ".join(f"{one:.1f}" for one in taken)
    print(f"Time from start to first step, ViT-B/16: median {statistics.median(taken):.1f} s of {each} s")


if __name__ == "__main__":
    main()
