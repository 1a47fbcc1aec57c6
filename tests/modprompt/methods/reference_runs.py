"""Runs of repositories of Dassl's family on inputs that are made here, as the recorders of their numbers start them.

Edits in the process, not in the files: no download of CLIP, no `wilds` and `plotnine`, CLIP's weights stay float32,
nothing moves to a GPU.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from tests.conftest import BARE_CONFIG, EUROSAT_FOLDERS, write_eurosat

NAMES = {"AnnualCrop": "Annual Crop Land", "HerbaceousVegetation": "Herbaceous Vegetation Land"}
NAMES.update(Highway="Highway or Road", Industrial="Industrial Buildings", Pasture="Pasture Land")
NAMES.update(PermanentCrop="Permanent Crop Land", Residential="Residential Buildings", SeaLake="Sea or Lake")

# REF_WEIGHTS: what stands for OpenAI's weights; REF_TEACHER: for the model of open_clip, which draws nothing
PROGRAM = """
import atexit, importlib, importlib.util, json, os, runpy, sys, types
import torch
from torch.optim import lr_scheduler
for name in ("wilds", "plotnine", "open_clip"):
    sys.modules[name] = types.ModuleType(name)
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
torch.Tensor.cuda = lambda self, *given, **named: self
sys.path.insert(0, os.getcwd())
for name in ("clip", "clip_maple"):
    if importlib.util.find_spec(name) is not None:
        importlib.import_module(name + ".clip")._download = lambda *given: os.environ["REF_WEIGHTS"]
def create(name, pretrained):
    depths = dict.fromkeys(("vision_depth", "language_depth", "vision_ctx", "language_ctx"), 0)
    with torch.random.fork_rng():
        made = sys.modules["clip.clip"].build_model
        return made(torch.load(os.environ["REF_TEACHER"]), {"trainer": "CoOp", **depths}), None, None
sys.modules["open_clip"].create_model_and_transforms = create
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


def flags(folder: Path, out: str, trainer: str) -> list[str]:
    """Flags of a run on the inputs in a folder, but the config files."""
    given = ["--root", folder / "data", "--seed", "1", "--trainer", trainer, "--output-dir", folder / out]
    return list(map(str, given))


def recorded(
    folder: Path, checkout: Path, dassl: Path, trainer: str, files: list[str], options: list[str], **named: str
) -> dict:
    """What a repository computes: losses of all steps, right answers on base and on new classes.

    Args:
        folder: with the inputs and clip.pt; it is gone afterwards.
        checkout: of the repository, where its train.py is.
        dassl: a checkout of Dassl.
        trainer: the repository's name.
        files: flags of its config files.
        options: KEY VALUE words.
        named: more of the environment.
    """
    (folder / "run.py").write_text(PROGRAM)
    found = {}
    for classes, how in (
        ("base", []),
        ("new", ["--eval-only", "--model-dir", str(folder / "base"), "--load-epoch", "2"]),
    ):
        path = os.pathsep.join([str(dassl), os.environ.get("PYTHONPATH", "")])
        out = {"REF_WEIGHTS": str(folder / "clip.pt"), "REF_OUT": str(folder / classes) + ".json", "PYTHONPATH": path}
        words = [*flags(folder, classes, trainer), *files, *how, *options, "DATASET.SUBSAMPLE_CLASSES", classes]
        run = [sys.executable, str(folder / "run.py"), *words, "USE_CUDA", "False"]
        subprocess.run(run, cwd=checkout, env={**os.environ, **named, **out}, check=True)
        found[classes] = json.loads((folder / f"{classes}.json").read_text())
    shutil.rmtree(folder)
    return {"losses": found["base"]["losses"], "base": found["base"]["right"][-1], "new": found["new"]["right"][-1]}


def write_golden(place: Path, cases: list[str], record: Callable[[Path, Path, str], dict]) -> None:
    """Write what `record` gives of each case, for a program that is given a checkout and one of Dassl."""
    checkout, dassl = (Path(word).resolve() for word in sys.argv[1:])
    made = {}
    for name in cases:
        made[name] = record(checkout, dassl, name)
        place.write_text(json.dumps(made, indent=1) + "\n")
