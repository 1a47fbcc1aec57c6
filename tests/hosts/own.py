"""A codebase's own trainer, started on random weights: before MPL is installed, and after."""

from __future__ import annotations

from pathlib import Path

import torch

from tests.conftest import BARE_CONFIG, published, random_clip
from tests.hosts.bench import Bench, Desk, Run
from tests.hosts.table import Host

TIMEOUT_S = 90
TRAINED = "trained"
STARTER = """
import runpy, sys
sys.path[0] = ""
from clip import clip
clip._download = lambda *args, **kwargs: {weights!r}
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""
# one epoch, without warm-up, which the real Dassl cannot do on a current PyTorch
OPTIONS = {
    "DATASET.NUM_SHOTS": 1,
    "DATASET.SUBSAMPLE_CLASSES": "base",
    "OPTIM.WARMUP_EPOCH": 0,
    "OPTIM.MAX_EPOCH": 1,
    "TEST.NO_TEST": True,
    "MODEL.BACKBONE.NAME": "ViT-B/16",
}


def write_files(folder: Path) -> None:
    """Weights of ViT-B/16's widths, which some trainers take for granted, a config, and what starts a train.py with them."""
    wide = random_clip(1, text_layers=4, vision_layers=4, text_width=512, vision_width=768)
    torch.save(published(wide.half()), folder / "wide.pt")
    (folder / "own.yaml").write_text(BARE_CONFIG)
    (folder / "own.py").write_text(STARTER.format(weights=str(folder / "wide.pt")))


def start(bench: Bench, desk: Desk, host: Host, folder: Path, path: tuple[Path, ...], out: str) -> Run:
    """One epoch of the own trainer."""
    desk.fresh()
    files = bench.folder
    words = [
        "--root",
        desk.folder / "data",
        "--seed",
        1,
        "--trainer",
        host.own or host.name,
        "--output-dir",
        desk.folder / out,
    ]
    words += ["--config-file", files / "own.yaml", "--dataset-config-file", host.dataset_config, *host.own_flags]
    options = [word for pair in OPTIONS.items() for word in pair]
    command = [bench.python, files / "own.py", "train.py", *words, *options, *host.own_options]
    return desk.run(command, folder, desk.environment(path), desk.folder / out, seconds=TIMEOUT_S)


def told(run: Run) -> str:
    """What came of it, in a few words."""
    return TRAINED if not run.code else run.error or f"exit code {run.code}"


def is_same(one: Run, two: Run) -> bool:
    """Whether two starts came to the same."""
    return (one.code, one.error, one.losses) == (two.code, two.error, two.losses)


def is_hurt(found: dict[str, str]) -> bool:
    """Whether a trainer that had trained does not do the same any more. found: before, after, as in a row."""
    return found["before"] == TRAINED and found["after"] != "equal"
