"""A small trial for a codebase: images laid out as EuroSAT, a CLIP with random weights, a config of MPL.

synthetic_set.py registers these images as a data set in Dassl.
"""

from pathlib import Path

import torch
from PIL import Image
from torch import nn

from modprompt.clip.design import Design
from modprompt.clip.stock_model import LayerNorm, PlainCLIP

CLASSES = (
    "AnnualCrop", "Forest", "HerbaceousVegetation", "Highway", "Industrial",
    "Pasture", "PermanentCrop", "Residential", "River", "SeaLake",
)  # fmt: skip
PICTURES, SIZE = 8, 32  # images of each class; side in pixels
HEADS = (1, 2)
CLIP = {
    "positions": 77, "vocabulary": 49408, "embed": 32,
    "text width": 64, "text hidden": 256, "text layers": 3,
    "image width": 128, "image hidden": 512, "image layers": 3, "patch": 16, "pixels": SIZE,
}  # fmt: skip
CONFIG = f"""
DATALOADER:
  TRAIN_X:
    BATCH_SIZE: 8
  TEST:
    BATCH_SIZE: 50
  NUM_WORKERS: 0
INPUT:
  SIZE: ({SIZE}, {SIZE})
  INTERPOLATION: "bicubic"
  PIXEL_MEAN: [0.48145466, 0.4578275, 0.40821073]
  PIXEL_STD: [0.26862954, 0.26130258, 0.27577711]
  TRANSFORMS: ["random_resized_crop", "random_flip", "normalize"]
OPTIM:
  NAME: "sgd"
  LR: 0.0035
  MAX_EPOCH: 1
  LR_SCHEDULER: "cosine"
  WARMUP_EPOCH: -1
TRAIN:
  PRINT_FREQ: 1
TRAINER:
  MPL:
    N_CTX: 1
    PROMPT_DEPTH: {CLIP["text layers"]}
    PREC: "fp32"
"""


def clip() -> nn.Module:
    """A CLIP with random weights under OpenAI's names, for images of SIZE pixels."""
    model = PlainCLIP(CLIP, Design("quick_gelu", HEADS))
    generator = torch.Generator().manual_seed(1)
    for parameter in model.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator) * 0.1
    for module in model.modules():
        if isinstance(module, (nn.LayerNorm, LayerNorm)):
            nn.init.ones_(module.weight)
            nn.init.zeros_(module.bias)
    return model


def write(folder: Path) -> None:
    """Write all that a run reads into an empty folder."""
    for number, name in enumerate(CLASSES):
        where = folder / "data" / "eurosat" / "2750" / name
        where.mkdir(parents=True)
        for picture in range(1, PICTURES + 1):
            colour = (25 * number, 30 * picture, 250 - 25 * number)
            Image.new("RGB", (SIZE, SIZE), colour).save(str(where / f"{name}_{picture}.jpg"))
    torch.save(clip().state_dict(), str(folder / "clip.pt"))
    (folder / "mpl.yaml").write_text(CONFIG)
    (folder / "made_up.yaml").write_text('DATASET:\n  NAME: "ModpromptMadeUp"\n')


def words(folder: Path, out: Path, trainer: str, data_config: str) -> list[str]:
    """A program's words that train MPL on the base classes of the trial.

    Args:
        folder: of the trial.
        out: the output folder.
        trainer: ours.
        data_config: a data set's config file.
    """
    flags = ["--root", folder / "data", "--seed", "1", "--trainer", trainer, "--output-dir", out]
    flags += ["--config-file", folder / "mpl.yaml", "--dataset-config-file", data_config]
    pairs = ["MODEL.BACKBONE.PATH", folder / "clip.pt", "MODEL.BACKBONE.ACTIVATION", "quick_gelu"]
    pairs += ["MODEL.BACKBONE.HEADS", HEADS, "DATASET.NUM_SHOTS", "1", "DATASET.SUBSAMPLE_CLASSES", "base"]
    return [str(word) for word in (*flags, *pairs)]
