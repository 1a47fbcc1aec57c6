"""A small world to try a codebase in: pictures laid out as EuroSAT, a random CLIP, a config of MPL, words of a run."""

from pathlib import Path
from typing import Dict, List, Sequence, Tuple

import torch
from PIL import Image
from torch import Tensor

from modprompt.hosts.trial.program import MADE_UP

CLASSES = (
    "AnnualCrop", "Forest", "HerbaceousVegetation", "Highway", "Industrial",
    "Pasture", "PermanentCrop", "Residential", "River", "SeaLake",
)  # fmt: skip
PICTURES, SIZE = 8, 32  # of each class; side in pixels
LAYERS, TEXT, VISION, JOINT, PATCH = 3, 64, 128, 32, 16  # of the CLIP, heads 64 wide
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
  WARMUP_EPOCH: 1
  WARMUP_TYPE: "constant"
  WARMUP_CONS_LR: 1e-5
TRAIN:
  PRINT_FREQ: 1
TRAINER:
  MPL:
    N_CTX: 1
    PROMPT_DEPTH: {LAYERS}
    PREC: "fp32"
"""


def _block(width: int) -> Dict[str, Tuple[int, ...]]:
    return {
        "attn.in_proj_weight": (3 * width, width),
        "attn.in_proj_bias": (3 * width,),
        "attn.out_proj.weight": (width, width),
        "attn.out_proj.bias": (width,),
        "mlp.c_fc.weight": (4 * width, width),
        "mlp.c_fc.bias": (4 * width,),
        "mlp.c_proj.weight": (width, 4 * width),
        "mlp.c_proj.bias": (width,),
        "ln_1.weight": (width,),
        "ln_1.bias": (width,),
        "ln_2.weight": (width,),
        "ln_2.bias": (width,),
    }


def _shapes() -> Dict[str, Tuple[int, ...]]:
    shapes: Dict[str, Tuple[int, ...]] = {
        "positional_embedding": (77, TEXT),
        "text_projection": (TEXT, JOINT),
        "logit_scale": (),
        "token_embedding.weight": (49408, TEXT),
        "visual.class_embedding": (VISION,),
        "visual.positional_embedding": ((SIZE // PATCH) ** 2 + 1, VISION),
        "visual.proj": (VISION, JOINT),
        "visual.conv1.weight": (VISION, 3, PATCH, PATCH),
    }
    for name, width in (("ln_final", TEXT), ("visual.ln_pre", VISION), ("visual.ln_post", VISION)):
        shapes.update({f"{name}.weight": (width,), f"{name}.bias": (width,)})
    for number in range(LAYERS):
        for side, width in (("", TEXT), ("visual.", VISION)):
            block = _block(width).items()
            shapes.update({f"{side}transformer.resblocks.{number}.{name}": shape for name, shape in block})
    return shapes


def state_dict() -> Dict[str, Tensor]:
    """A CLIP with random weights under OpenAI's names: ViT, LAYERS on both sides, images of SIZE pixels."""
    generator = torch.Generator().manual_seed(1)
    state = {name: torch.randn(shape, generator=generator) * 0.1 for name, shape in _shapes().items()}
    for name in state:
        if ".ln_" in f".{name}":
            state[name].fill_(float(name.endswith("weight")))
    return state


class World:
    """Where a run of a trial finds all that it reads, and where it writes.

    Args:
        folder: an empty one of its own.
    """

    def __init__(self, folder: Path):
        self.data, self.out, self.weights = folder / "data", folder / "out", folder / "clip.pt"
        self.config, self.set_config = folder / "mpl.yaml", folder / "made_up.yaml"
        for number, name in enumerate(CLASSES):
            where = self.data / "eurosat" / "2750" / name
            where.mkdir(parents=True)
            for picture in range(1, PICTURES + 1):
                colour = (25 * number, 30 * picture, 250 - 25 * number)
                Image.new("RGB", (SIZE, SIZE), colour).save(str(where / f"{name}_{picture}.jpg"))
        torch.save(state_dict(), str(self.weights))
        self.config.write_text(CONFIG)
        self.set_config.write_text(f'DATASET:\n  NAME: "{MADE_UP}"\n')

    def words(self, trainer: str, data_config: Path, flags: Sequence[str], options: Sequence[str]) -> List[str]:
        """The words behind train.py that train MPL in this world.

        Args:
            trainer: what --trainer is to say.
            data_config: a data set's config file.
            flags: more of them, which the codebase asks for.
            options: KEY VALUE ..., the same.
        """
        own = ["--root", self.data, "--seed", "1", "--trainer", trainer, "--output-dir", self.out]
        own += ["--config-file", self.config, "--dataset-config-file", data_config, *flags]
        said = {
            "MODEL.BACKBONE.PATH": self.weights,
            "MODEL.BACKBONE.ACTIVATION": "quick_gelu",
            "MODEL.BACKBONE.HEADS": f"({TEXT // 64}, {VISION // 64})",
            "DATASET.NUM_SHOTS": 1,
            "DATASET.SUBSAMPLE_CLASSES": "base",
        }
        return [*map(str, own), *(str(word) for pair in said.items() for word in pair), *options]

    def test_words(self, words: Sequence[str]) -> List[str]:
        """The same words for a test of what they have trained."""
        out = self.out.with_name("tested")
        changed = [str(out) if word == str(self.out) else word for word in words]
        at = changed.index("--root")
        return [*changed[:at], "--eval-only", "--model-dir", str(self.out), "--load-epoch", "1", *changed[at:]]
