"""What KDPL's own repository (miccunifi/KDPL, 76da8da) computes on inputs that are made here, and how.

golden_kdpl.json has each step's loss and the counts of right answers, of base and new classes. It was made with a
checkout of that repository and one of Dassl (its 0.6.3) by

    python -m tests.modprompt.methods.kdpl_reference CHECKOUT DASSL

on PyTorch 2.13, a CPU, float32; `open_clip`, whose ViT-H-14 is the teacher, gives a random CLIP of other widths and draws
nothing.
"""

import json
import tempfile
from pathlib import Path
from typing import NamedTuple

import torch

from tests.conftest import published, random_clip
from tests.modprompt.methods import dept_reference
from tests.modprompt.methods.reference_runs import recorded, write_golden, write_inputs

GOLDEN = Path(__file__).with_name("golden_kdpl.json")


TEACHER = {"text_layers": 2, "vision_layers": 3, "text_width": 128, "vision_width": 192}
_TEACHERS_CONFIG = {
    "embed_dim": 32,
    "quick_gelu": True,
    "vision_cfg": {"layers": 3, "width": 192, "head_width": 64, "patch_size": 16, "image_size": 32},
    "text_cfg": {"layers": 2, "width": 128, "heads": 2, "context_length": 77, "vocab_size": 49408},
}


def write_teacher(folder: Path, seed: int = 7) -> Path:
    """A random CLIP of other widths than a student's, in a new folder of open_clip's form; the folder."""
    folder.mkdir()
    torch.save(published(random_clip(seed, **TEACHER)), folder / "open_clip_pytorch_model.bin")
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": _TEACHERS_CONFIG}))
    return folder


class Case(NamedTuple):
    """A run.

    base: the method that is taught.
    config: of the repository.
    options: below TRAINER.
    """

    base: str
    config: str
    options: tuple[str, ...] = ()

    @property
    def trainer(self) -> str:
        """The repository's name."""
        return f"{self.base}_KDPL"

    @property
    def heads(self) -> tuple[int, int]:
        """Of the student's CLIP: text, image."""
        return dept_reference.Case(self.base, "", "").heads

    def save_clip(self, path: Path) -> None:
        """The student's."""
        dept_reference.Case(self.base, "", "").save_clip(path)

    def words(self) -> list:
        """KEY VALUE words."""
        own = [word if at % 2 else f"TRAINER.{word}" for at, word in enumerate(self.options)]
        small = ["INPUT.SIZE", "(32, 32)", "DATASET.NUM_SHOTS", "4", "DATALOADER.NUM_WORKERS", "0"]
        steps = ["OPTIM.MAX_EPOCH", "2", "DATALOADER.TRAIN_X.BATCH_SIZE", "4"]
        return [*small, *steps, f"TRAINER.{self.base.upper()}.PREC", "fp32", *own]


CASES = {
    "coop": Case("CoOp", "vit_b32_ctxv1"),
    "coop, random": Case("CoOp", "vit_b32_ctxv1", ("COOP.CTX_INIT", "", "COOP.N_CTX", "3")),
    "cocoop": Case("CoCoOp", "vit_b32_c4_ep10_batch1_ctxv1"),
    "maple": Case("MaPLe", "vit_b32_c2_ep5_batch4_2ctx", ("MAPLE.PROMPT_DEPTH", "4")),
}


def record(checkout: Path, dassl: Path, name: str) -> dict:
    """What the reference computes: losses of all steps, right answers on base and on new classes."""
    case, folder = CASES[name], write_inputs(Path(tempfile.mkdtemp()))
    case.save_clip(folder / "clip.pt")
    teacher = str(write_teacher(folder / "teacher") / "open_clip_pytorch_model.bin")
    files = ["--config-file", f"configs/trainers/{case.trainer}/{case.config}.yaml"]
    files += ["--dataset-config-file", "configs/datasets/eurosat.yaml"]
    words = [*case.words(), "TRAINER.KDPL.PREC", "fp32"]
    return recorded(folder, checkout / "src", dassl, case.trainer, files, words, REF_TEACHER=teacher)


if __name__ == "__main__":
    write_golden(GOLDEN, list(CASES), record)
