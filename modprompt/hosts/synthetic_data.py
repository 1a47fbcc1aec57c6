"""A small trial for a codebase: images laid out as EuroSAT, a CLIP with random weights, a config of MPL.

synthetic_set.py registers these images as a data set in Dassl.
"""

from pathlib import Path

import torch
from PIL import Image

CLASSES = (
    "AnnualCrop", "Forest", "HerbaceousVegetation", "Highway", "Industrial",
    "Pasture", "PermanentCrop", "Residential", "River", "SeaLake",
)  # fmt: skip
PICTURES, SIZE = 8, 32  # images of each class; side in pixels
HEADS = (1, 2)
EMBED, TEXT, IMAGE, LAYERS, PATCH = 32, 64, 128, 3, 16  # of the CLIP: widths, layers of a side, pixels of a patch
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
    PROMPT_DEPTH: {LAYERS}
    PREC: "fp32"
"""


def clip() -> dict[str, torch.Tensor]:
    """The state dict of a CLIP with random weights under OpenAI's names, for images of SIZE pixels."""
    shapes: dict[str, tuple[int, ...]] = {
        "positional_embedding": (77, TEXT), "text_projection": (TEXT, EMBED), "logit_scale": (),
        "token_embedding.weight": (49408, TEXT), "visual.class_embedding": (IMAGE,),
        "visual.positional_embedding": ((SIZE // PATCH) ** 2 + 1, IMAGE), "visual.proj": (IMAGE, EMBED),
        "visual.conv1.weight": (IMAGE, 3, PATCH, PATCH),
    }  # fmt: skip
    parts: dict[str, tuple[int, ...]] = {"ln_final": (TEXT,), "visual.ln_pre": (IMAGE,), "visual.ln_post": (IMAGE,)}
    for side, width in (("", TEXT), ("visual.", IMAGE)):
        block = {
            "attn.in_proj_": (3 * width, width), "attn.out_proj": (width, width), "ln_1": (width,), "ln_2": (width,),
            "mlp.c_fc": (4 * width, width), "mlp.c_proj": (width, 4 * width),
        }  # fmt: skip
        for layer in range(LAYERS):
            parts.update((f"{side}transformer.resblocks.{layer}.{part}", shape) for part, shape in block.items())
    for part, shape in parts.items():
        dot = "" if part.endswith("_proj_") else "."
        shapes.update({f"{part}{dot}weight": shape, f"{part}{dot}bias": shape[:1]})
    draws = torch.Generator().manual_seed(1)
    state = {name: torch.randn(shape, generator=draws) * 0.1 for name, shape in shapes.items()}
    for name, value in state.items():
        if "ln_" in name:
            value.fill_(float(name.endswith("weight")))
    return state


def write(folder: Path) -> None:
    """Write all that a run reads into an empty folder."""
    for number, name in enumerate(CLASSES):
        where = folder / "data" / "eurosat" / "2750" / name
        where.mkdir(parents=True)
        for picture in range(1, PICTURES + 1):
            colour = (25 * number, 30 * picture, 250 - 25 * number)
            Image.new("RGB", (SIZE, SIZE), colour).save(str(where / f"{name}_{picture}.jpg"))
    torch.save(clip(), str(folder / "clip.pt"))
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
