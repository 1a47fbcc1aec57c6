"""Pictures of all kinds that a test set may have, and Dassl's own loader over them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from dassl.config import get_cfg_default
from dassl.data.data_manager import build_data_loader
from dassl.data.datasets import Datum
from dassl.data.transforms import build_transform
from PIL import Image

from modprompt.clip.known import SHORTEST, SQUASH
from modprompt.trainers.backbone import squash

SIZES = ((50, 37), (37, 61), (32, 32), (17, 90), (9, 8), (1, 40), (33, 32))  # (width, height)
KINDS = (("RGB", "jpg"), ("L", "jpg"), ("CMYK", "jpg"), ("RGBA", "png"), ("P", "png"), ("LA", "png"), ("1", "png"))
NUMBER = len(SIZES) * 2


def write_images(folder: Path) -> list[tuple[str, int]]:
    """(path, label) of pictures of all kinds and odd sizes."""
    folder.mkdir()
    rng, found = np.random.default_rng(0), []
    for number in range(NUMBER):
        (width, height), (mode, ending) = SIZES[number % 7], KINDS[(number + number // 7) % 7]
        pixels = rng.integers(0, 256, (height, width, 4), dtype=np.uint8)
        image = Image.fromarray(pixels, "RGBA" if mode in ("RGBA", "LA") else "CMYK" if mode == "CMYK" else None)
        path = folder / f"{number}.{ending}"
        more: dict[str, Any] = {"transparency": 3} if mode == "P" else {}
        image.convert("RGB" if mode == "P" else image.mode).convert(mode).save(path, **more)
        found.append((str(path), number % 3))
    return found


def loader_of(images: list[tuple[str, int]], mode: str = SHORTEST, workers: int = 0, **settings: Any) -> Any:
    """A test loader over images, made as a run makes it; settings are those of INPUT, or of DATALOADER if it has them."""
    cfg = get_cfg_default()
    cfg.INPUT.SIZE, cfg.INPUT.TRANSFORMS, cfg.INPUT.INTERPOLATION = (32, 32), ("normalize",), "bicubic"
    cfg.DATALOADER.NUM_WORKERS, cfg.USE_CUDA, cfg.VERBOSE = workers, False, False
    for key, value in settings.items():
        node = cfg.DATALOADER if key in cfg.DATALOADER else cfg.INPUT
        node[key] = value
    found = build_data_loader(
        cfg,
        cfg.DATALOADER.TEST.SAMPLER,
        [Datum(impath=path, label=label, classname=str(label)) for path, label in images],
        batch_size=4,
        tfm=build_transform(cfg, is_train=False),
        is_train=False,
    )
    if mode == SQUASH:
        squash([found], cfg.INPUT.SIZE)
    return found
