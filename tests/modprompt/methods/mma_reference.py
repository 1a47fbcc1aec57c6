"""What MMA's own repository (ZjjConan/Multi-Modal-Adapter, 547ee34) computes on inputs that are made here, and how.

golden_mma.json has each step's loss and the counts of right answers, of base and new classes. It was made with a
checkout of that repository and one of Dassl (its 0.6.3) by

    python -m tests.modprompt.methods.mma_reference CHECKOUT DASSL

on PyTorch 2.13, a CPU, float32.
"""

import tempfile
from pathlib import Path

import torch

from tests.conftest import published, random_clip
from tests.modprompt.methods import reference_runs
from tests.modprompt.methods.reference_runs import recorded, write_golden, write_inputs

CASES = {  # layers of four; the published scale, others
    "published": {"ADAPTER_START": 2, "ADAPTER_END": 4, "ADAPTER_DIM": 8, "ADAPTER_SCALE": 0.001},
    "large": {"ADAPTER_START": 1, "ADAPTER_END": 3, "ADAPTER_DIM": 6, "ADAPTER_SCALE": 0.05},
    "first": {"ADAPTER_START": 0, "ADAPTER_END": 2, "ADAPTER_DIM": 8, "ADAPTER_SCALE": 0.05},
}
TRAINER = "MultiModalAdapter"
GOLDEN = Path(__file__).with_name("golden_mma.json")
SHARED = ["DATASET.NUM_SHOTS", "4", "TRAINER.MMADAPTER.PREC", "fp32", "TRAINER.MMADAPTER.TEXT_CTX_INIT", "a photo of a"]


def options(case: str) -> list:
    """KEY VALUE words of a case."""
    own = [word for key, value in CASES[case].items() for word in (f"TRAINER.MMADAPTER.{key}", str(value))]
    return [*SHARED, *own]


def flags(folder: Path, out: str) -> list:
    """Flags of a run on the inputs in a folder."""
    return [*reference_runs.flags(folder, out, TRAINER), "--config-file", str(folder / "config.yaml")]


def record(checkout: Path, dassl: Path, case: str) -> dict:
    """What the reference computes: losses of all steps, right answers on base and on new classes."""
    folder = write_inputs(Path(tempfile.mkdtemp()))
    torch.save(published(random_clip(1, text_layers=4, vision_layers=4)), folder / "clip.pt")
    files = ["--config-file", str(folder / "config.yaml"), "--dataset-config-file", "configs/datasets/eurosat.yaml"]
    return recorded(folder, checkout, dassl, TRAINER, files, [*options(case), "MODEL.BACKBONE.NAME", "ViT-B/16"])


if __name__ == "__main__":
    write_golden(GOLDEN, list(CASES), record)
