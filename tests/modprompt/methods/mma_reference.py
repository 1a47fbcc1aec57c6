"""What MMA's own repository (ZjjConan/Multi-Modal-Adapter, 547ee34) computes on inputs that are made here, and how.

golden_mma.json has each step's loss and the counts of right answers, of base and new classes. It was made with a
checkout of that repository and one of Dassl (its 0.6.3) by

    python -m tests.modprompt.methods.mma_reference CHECKOUT DASSL

on PyTorch 2.13, a CPU, float32. Edits in the process, not in the files: no download of CLIP, no `wilds`, CLIP's weights
stay float32.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import torch

from tests.conftest import BARE_CONFIG, EUROSAT_FOLDERS, published, random_clip, write_eurosat

NAMES = {"AnnualCrop": "Annual Crop Land", "HerbaceousVegetation": "Herbaceous Vegetation Land"}
NAMES.update(Highway="Highway or Road", Industrial="Industrial Buildings", Pasture="Pasture Land")
NAMES.update(PermanentCrop="Permanent Crop Land", Residential="Residential Buildings", SeaLake="Sea or Lake")
CASES = {  # layers of four; the published scale, others
    "published": {"ADAPTER_START": 2, "ADAPTER_END": 4, "ADAPTER_DIM": 8, "ADAPTER_SCALE": 0.001},
    "large": {"ADAPTER_START": 1, "ADAPTER_END": 3, "ADAPTER_DIM": 6, "ADAPTER_SCALE": 0.05},
    "first": {"ADAPTER_START": 0, "ADAPTER_END": 2, "ADAPTER_DIM": 8, "ADAPTER_SCALE": 0.05},
}
GOLDEN = Path(__file__).with_name("golden_mma.json")
SHARED = ["DATASET.NUM_SHOTS", "4", "TRAINER.MMADAPTER.PREC", "fp32", "TRAINER.MMADAPTER.TEXT_CTX_INIT", "a photo of a"]

_RUN = """
import atexit, json, os, runpy, sys, types
import torch
from torch.optim import lr_scheduler
sys.modules["wilds"] = types.ModuleType("wilds")
sys.modules["wilds"].get_dataset = None
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
sys.path.insert(0, os.getcwd())
from clip import clip
clip._download = lambda *given: os.environ["REF_WEIGHTS"]
from dassl.engine import TrainerX
from dassl.evaluation import Classification
found = {"losses": [], "right": []}
step, evaluate = TrainerX.model_backward_and_update, Classification.evaluate
def stepped(self, loss, *given):
    found["losses"].append(float(loss))
    step(self, loss, *given)
def evaluated(self):
    found["right"].append(int(self._correct))
    return evaluate(self)
TrainerX.model_backward_and_update, Classification.evaluate = stepped, evaluated
atexit.register(lambda: open(os.environ["REF_OUT"], "w").write(json.dumps(found)))
sys.argv = ["train.py", *sys.argv[1:]]
runpy.run_path("train.py", run_name="__main__")
"""


def write_inputs(folder: Path) -> Path:
    """Images with a split that nobody has to draw, under `data`, and `config.yaml`; the folder."""
    data = write_eurosat(folder / "data")
    parts = {"train": range(1, 9), "val": range(9, 10), "test": range(10, 13)}
    split = {
        part: [
            [f"{name}/{name}_{number}.jpg", label, NAMES.get(name, name)]
            for label, name in enumerate(EUROSAT_FOLDERS)
            for number in numbers
        ]
        for part, numbers in parts.items()
    }
    (data / "eurosat/split_zhou_EuroSAT.json").write_text(json.dumps(split))
    (folder / "config.yaml").write_text(BARE_CONFIG)
    return folder


def options(case: str) -> list:
    """KEY VALUE words of a case."""
    own = [word for key, value in CASES[case].items() for word in (f"TRAINER.MMADAPTER.{key}", str(value))]
    return [*SHARED, *own]


def flags(folder: Path, out: str) -> list:
    """Flags of a run on the inputs in a folder."""
    given = ["--root", folder / "data", "--seed", "1", "--trainer", "MultiModalAdapter", "--output-dir", folder / out]
    return [*map(str, given), "--config-file", str(folder / "config.yaml")]


def record(checkout: Path, dassl: Path, case: str) -> dict:
    """What the reference computes: losses of all steps, right answers on base and on new classes."""
    folder = write_inputs(Path(tempfile.mkdtemp()))
    torch.save(published(random_clip(1, text_layers=4, vision_layers=4)), folder / "clip.pt")
    (folder / "run.py").write_text(_RUN)
    dataset = ["--dataset-config-file", "configs/datasets/eurosat.yaml"]
    found = {}
    for classes, how in (
        ("base", []),
        ("new", ["--eval-only", "--model-dir", str(folder / "base"), "--load-epoch", "2"]),
    ):
        path = os.pathsep.join([str(dassl), os.environ.get("PYTHONPATH", "")])
        named = {"REF_WEIGHTS": str(folder / "clip.pt"), "REF_OUT": str(folder / classes) + ".json", "PYTHONPATH": path}
        words = [*flags(folder, classes), *dataset, *how, *options(case), "DATASET.SUBSAMPLE_CLASSES", classes]
        run = [sys.executable, str(folder / "run.py"), *words, "USE_CUDA", "False", "MODEL.BACKBONE.NAME", "ViT-B/16"]
        subprocess.run(run, cwd=checkout, env={**os.environ, **named}, check=True)
        found[classes] = json.loads((folder / f"{classes}.json").read_text())
    shutil.rmtree(folder)
    return {"losses": found["base"]["losses"], "base": found["base"]["right"][-1], "new": found["new"]["right"][-1]}


if __name__ == "__main__":
    checkout, dassl = map(Path, sys.argv[1:])
    made = {case: record(checkout.resolve(), dassl.resolve(), case) for case in CASES}
    GOLDEN.write_text(json.dumps(made, indent=1) + "\n")
