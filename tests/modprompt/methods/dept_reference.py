"""What DePT's own repository (Koorye/DePT, d4ff416) computes on inputs that are made here, and how.

golden_dept.json has each step's loss and the counts of right answers, of base and new classes. It was made with a
checkout of that repository and one of Dassl (its 0.6.3) by

    python -m tests.modprompt.methods.dept_reference CHECKOUT DASSL

on PyTorch 2.13, a CPU, float32.
"""

import tempfile
from pathlib import Path
from typing import NamedTuple

import torch

from tests.conftest import published, random_clip
from tests.modprompt.methods.reference_runs import recorded, write_golden, write_inputs

GOLDEN = Path(__file__).with_name("golden_dept.json")
BARE_HEAD = ("LINEAR_PROBE.WEIGHT", "0.4", "FILM.LINEAR_PROBE", "False", "LINEAR_PROBE.TEST_TIME_FUSION", "False")
SIMILARITY = ("LINEAR_PROBE.TYPE", "similarity")


class Case(NamedTuple):
    """A run.

    base: the method that the head stands beside.
    config: of the repository.
    node: the base's, as the repository has it.
    options: below TRAINER.
    batch: images in a step, where it is not the config's.
    """

    base: str
    config: str
    node: str
    options: tuple[str, ...] = ()
    batch: int = 4

    @property
    def trainer(self) -> str:
        """The repository's name."""
        return f"ExtrasLinearProbe{self.base}"

    @property
    def heads(self) -> tuple[int, int]:
        """Of the CLIP: text, image."""
        return (8, 12) if self.base == "MaPLe" else (1, 2)

    def save_clip(self, path: Path) -> None:
        """A CLIP of four layers a side; for MaPLe as wide as its repository has it written in."""
        widths = {"text_width": 512, "vision_width": 768} if self.base == "MaPLe" else {}
        torch.save(published(random_clip(1, text_layers=4, vision_layers=4, **widths)), path)

    def words(self) -> list:
        """KEY VALUE words."""
        own = [word if at % 2 else f"TRAINER.{word}" for at, word in enumerate(self.options)]
        small = ["INPUT.SIZE", "(32, 32)", "DATASET.NUM_SHOTS", "4", "DATALOADER.NUM_WORKERS", "0"]
        steps = ["OPTIM.MAX_EPOCH", "2", "DATALOADER.TRAIN_X.BATCH_SIZE", str(self.batch)]
        return [*small, *steps, f"TRAINER.{self.node}.PREC", "fp32", *own]


_COOP, _COCOOP = ("CoOp", "vit_b16_ep10_bs4_lr35", "COOP"), ("CoCoOp", "vit_b16_c4_ep10_batch1_ctxv1", "COCOOP")
_KGCOOP, _MAPLE = ("KgCoOp", "vit_b16_ep10_ctxv1_bs4_lr35", "COOP"), ("MaPLe", "vit_b16_c2_ep10_batch4_2ctx", "MAPLE")
_DEEP = ("MAPLE.PROMPT_DEPTH", "4")
CASES = {
    "coop": Case(*_COOP),
    "coop, words, a bare head": Case(*_COOP, ("COOP.CTX_INIT", "a photo of a", "COOP.N_CTX", "4", *BARE_HEAD)),
    "coop, similarity": Case(*_COOP, SIMILARITY),
    "cocoop": Case(*_COCOOP, batch=1),
    "cocoop, random, a bare head": Case(*_COCOOP, ("COCOOP.CTX_INIT", "", "COCOOP.N_CTX", "3", *BARE_HEAD)),
    "kgcoop": Case(*_KGCOOP),
    "kgcoop, a bare head": Case(*_KGCOOP, ("COOP.W", "8.0", *BARE_HEAD)),
    "kgcoop, similarity": Case(*_KGCOOP, SIMILARITY),
    "maple": Case(*_MAPLE, _DEEP),
    "maple, a bare head": Case(*_MAPLE, ("MAPLE.PROMPT_DEPTH", "2", "MAPLE.N_CTX", "3", *BARE_HEAD)),
    "maple, similarity": Case(*_MAPLE, (*_DEEP, *SIMILARITY)),
}


def record(checkout: Path, dassl: Path, name: str) -> dict:
    """What the reference computes: losses of all steps, right answers on base and on new classes."""
    case, folder = CASES[name], write_inputs(Path(tempfile.mkdtemp()))
    case.save_clip(folder / "clip.pt")
    files = ["--config-file", f"configs/trainers/{case.trainer}/{case.config}.yaml"]
    files += ["--dataset-config-file", "configs/datasets/eurosat.yaml"]
    return recorded(folder, checkout, dassl, case.trainer, files, case.words())


if __name__ == "__main__":
    write_golden(GOLDEN, list(CASES), record)
