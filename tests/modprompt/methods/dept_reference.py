"""What DePT's own repository (Koorye/DePT, d4ff416) computes on inputs that are made here, and how.

golden_dept.json has each step's loss and the counts of right answers, of base and new classes. It was made with a
checkout of that repository and one of Dassl (its 0.6.3) by

    python -m tests.modprompt.methods.dept_reference CHECKOUT DASSL

on PyTorch 2.13, a CPU, float32. Edits in the process, not in the files: no download of CLIP, no `wilds` and `plotnine`,
CLIP's weights stay float32.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple, Tuple

import torch

from tests.conftest import published, random_clip
from tests.modprompt.methods.mma_reference import write_inputs

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
    options: Tuple[str, ...] = ()
    batch: int = 4

    @property
    def trainer(self) -> str:
        """The repository's name."""
        return f"ExtrasLinearProbe{self.base}"

    @property
    def heads(self) -> Tuple[int, int]:
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

RUN = """
import atexit, json, os, runpy, sys, types
import torch
from torch.optim import lr_scheduler
sys.modules["wilds"] = types.ModuleType("wilds")
sys.modules["wilds"].get_dataset = None
sys.modules["plotnine"] = types.ModuleType("plotnine")
if "pkg_resources" not in sys.modules:
    import packaging.version
    sys.modules["pkg_resources"] = types.ModuleType("pkg_resources")
    sys.modules["pkg_resources"].packaging = packaging
start = lr_scheduler.LRScheduler.__init__
lr_scheduler.LRScheduler.__init__ = lambda self, optimizer, last_epoch=-1, verbose=None: start(self, optimizer, last_epoch)
load = torch.load
torch.load = lambda *given, **named: load(*given, **{**named, "weights_only": False})
def refuse(*given, **named): raise RuntimeError
torch.jit.load = refuse
torch.nn.Module.half = torch.Tensor.half = lambda self: self
torch.Tensor.cuda = lambda self, *given, **named: self
sys.path.insert(0, os.getcwd())
from clip import clip
from clip_maple import clip as clip_maple
clip._download = clip_maple._download = lambda *given: os.environ["REF_WEIGHTS"]
from dassl.engine import TrainerX
from dassl.evaluation import Classification
found = {"losses": [], "right": []}
backward, evaluate = torch.Tensor.backward, Classification.evaluate
def stepped(self, *given, **named):
    found["losses"].append(float(self.detach()))
    backward(self, *given, **named)
def evaluated(self):
    found["right"].append(int(self._correct))
    return evaluate(self)
torch.Tensor.backward, Classification.evaluate = stepped, evaluated
atexit.register(lambda: open(os.environ["REF_OUT"], "w").write(json.dumps(found)))
sys.argv = ["train.py", *sys.argv[1:]]
runpy.run_path("train.py", run_name="__main__")
"""


def flags(folder: Path, out: str, case: Case) -> list:
    """Flags of a run on the inputs in a folder, but the config files."""
    given = ["--root", folder / "data", "--seed", "1", "--trainer", case.trainer, "--output-dir", folder / out]
    return list(map(str, given))


def record(checkout: Path, dassl: Path, case: Case) -> dict:
    """What the reference computes: losses of all steps, right answers on base and on new classes."""
    folder = write_inputs(Path(tempfile.mkdtemp()))
    case.save_clip(folder / "clip.pt")
    (folder / "run.py").write_text(RUN)
    files = ["--config-file", f"configs/trainers/{case.trainer}/{case.config}.yaml"]
    files += ["--dataset-config-file", "configs/datasets/eurosat.yaml"]
    found = {}
    for classes, how in (
        ("base", []),
        ("new", ["--eval-only", "--model-dir", str(folder / "base"), "--load-epoch", "2"]),
    ):
        path = os.pathsep.join([str(dassl), os.environ.get("PYTHONPATH", "")])
        named = {"REF_WEIGHTS": str(folder / "clip.pt"), "REF_OUT": str(folder / classes) + ".json", "PYTHONPATH": path}
        words = [*flags(folder, classes, case), *files, *how, *case.words(), "DATASET.SUBSAMPLE_CLASSES", classes]
        run = [sys.executable, str(folder / "run.py"), *words, "USE_CUDA", "False"]
        subprocess.run(run, cwd=checkout, env={**os.environ, **named}, check=True)
        found[classes] = json.loads((folder / f"{classes}.json").read_text())
    shutil.rmtree(folder)
    return {"losses": found["base"]["losses"], "base": found["base"]["right"][-1], "new": found["new"]["right"][-1]}


if __name__ == "__main__":
    checkout, dassl = map(Path, sys.argv[1:])
    made = {}
    for name, case in CASES.items():
        made[name] = record(checkout.resolve(), dassl.resolve(), case)
        GOLDEN.write_text(json.dumps(made, indent=1) + "\n")
