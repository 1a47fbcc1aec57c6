"""Small codebases of the CoOp family, written by the tests: what launcher and installer must cope with."""

from __future__ import annotations

import atexit
import functools
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from modprompt.clip.package import import_clip
from tests.conftest import BARE_CONFIG, ROOT, published, random_clip

PROGRAM = '''"""Stand-in program."""
import argparse
#FIRST
from dassl.config import clean_cfg, get_cfg_default
from dassl.engine import build_trainer
from dassl.utils import set_random_seed, setup_logger
from yacs.config import CfgNode as CN

import datasets.eurosat
import datasets.squares
#IMPORTS
import trainers.own
#LAST


def extend_cfg(cfg):
    cfg.TRAINER.OWN = CN()
    cfg.TRAINER.OWN.PREC = "fp32"
    cfg.DATASET.SUBSAMPLE_CLASSES = "all"
    #DEFAULTS


def setup_cfg(args):
    cfg = get_cfg_default()
    #CONFIG
    extend_cfg(cfg)
    if args.dataset_config_file:
        cfg.merge_from_file(args.dataset_config_file)
    if args.config_file:
        cfg.merge_from_file(args.config_file)
    cfg.DATASET.ROOT, cfg.OUTPUT_DIR, cfg.TRAINER.NAME, cfg.SEED = args.root, args.output_dir, args.trainer, args.seed
    if args.backbone:
        cfg.MODEL.BACKBONE.NAME = args.backbone
    #BEFORE_OPTIONS
    cfg.merge_from_list(args.opts)
    #AFTER_OPTIONS
    cfg.freeze()
    return cfg


def main(args):
    cfg = setup_cfg(args)
    set_random_seed(cfg.SEED)
    setup_logger(cfg.OUTPUT_DIR)
    #BEFORE_BUILDING
    trainer = build_trainer(cfg)
    if args.eval_only:
        trainer.load_model(args.model_dir, epoch=args.load_epoch)
        trainer.test()
        return
    #BEFORE_TRAINING
    trainer.train()


parser = argparse.ArgumentParser()
for flag in ("--root", "--trainer", "--output-dir", "--config-file", "--dataset-config-file", "--model-dir"):
    parser.add_argument(flag, default="")
parser.add_argument("--seed", type=int, default=1)
parser.add_argument("--backbone", default="")
parser.add_argument("--load-epoch", type=int)
parser.add_argument("--eval-only", action="store_true")
#FLAGS
parser.add_argument("opts", nargs=argparse.REMAINDER)
if __name__ == "__main__":
    main(parser.parse_args())
'''

DATASET = '''"""Pictures of a folder per class; the first half of each is for training."""
import os

from dassl.data.datasets import DATASET_REGISTRY, Datum, DatasetBase


def pictures(root):
    train, test = [], []
    for label, name in enumerate(sorted(os.listdir(root))):
        folder = os.path.join(root, name)
        images = [Datum(os.path.join(folder, file), label, classname=name) for file in sorted(os.listdir(folder))]
        train += images[: len(images) // 2]
        test += images[len(images) // 2 :]
    return train, test


@DATASET_REGISTRY.register()
class Squares(DatasetBase):
    def __init__(self, cfg):
        train, test = pictures(cfg.DATASET.ROOT)
        super().__init__(train_x=train, val=test, test=test)
'''

EUROSAT = '''"""EuroSAT as the family lays it out."""
import os

from dassl.data.datasets import DATASET_REGISTRY, DatasetBase

from .squares import pictures


@DATASET_REGISTRY.register()
class EuroSAT(DatasetBase):
    def __init__(self, cfg):
        train, test = pictures(os.path.join(os.path.abspath(cfg.DATASET.ROOT), "eurosat", "2750"))
        print(cfg.DATASET.NUM_SHOTS, "shots of", cfg.DATASET.SUBSAMPLE_CLASSES, "classes: it gives all")
        super().__init__(train_x=train, val=test, test=test)


@DATASET_REGISTRY.register()
class ImageNetSketch(EuroSAT):  # a name that a reader of ours has, too
    pass
'''

OWN_TRAINER = '''"""The stand-in's own method."""
import torch
import torch.nn.functional as F
from dassl.engine import TRAINER_REGISTRY, TrainerX
from dassl.optim import build_lr_scheduler, build_optimizer

from clip import clip


@TRAINER_REGISTRY.register()
class {name}(TrainerX):
    def build_model(self):
        print("own trainer {name}")
        self.model = torch.nn.Linear(3 * 32 * 32, self.num_classes)
        self.optim = build_optimizer(self.model, self.cfg.OPTIM)
        self.sched = build_lr_scheduler(self.optim, self.cfg.OPTIM)
        self.register_model("{name}", self.model, self.optim, self.sched)

    def forward_backward(self, batch):
        loss = F.cross_entropy(self.model(batch["img"].flatten(1)), batch["label"])
        self.model_backward_and_update(loss)
        return {{"loss": loss.item()}}

    def model_inference(self, input):
        return self.model(input.flatten(1))
'''

# a Dassl whose constructor leaves the model out, and builds it in before_train, which resumes nothing
LATE_MODEL = '''"""The model is built when the training begins."""
import time

from dassl.engine import TrainerX

_plain = TrainerX.__init__


def _without_model(self, cfg):
    self.build_model = lambda: None
    _plain(self, cfg)
    del self.build_model


def _build(self):
    self.build_model()
    self.time_start = time.time()


TrainerX.__init__, TrainerX.before_train = _without_model, _build
'''

# a builder that takes a word for its design and loses the weights, and a block that takes more than the usual
OTHER_CLIP = """

_plain_build_model = build_model


def build_model(state_dict, design_details):
    assert design_details["trainer"] == {word!r}, "no design " + design_details["trainer"]
    assert design_details["vision_depth"] == design_details["language_depth"] == 0
    model = _plain_build_model(state_dict).requires_grad_(False)
    return model.apply(lambda part: [value.zero_() for value in part.parameters()])


def _needs_more(self, x, attn_mask):
    raise TypeError("a block of this codebase is never called")


ResidualAttentionBlock.forward = _needs_more
"""

# what codebases have beside the usual: text put before a marker of the program, in place of other text of it, or into a
# file (behind what clip/model.py has)
INDENTED = ("#CONFIG", "#DEFAULTS", "#BEFORE_OPTIONS", "#AFTER_OPTIONS", "#BEFORE_BUILDING", "#BEFORE_TRAINING")
TRAITS: dict[str, dict[str, str]] = {
    "other clip": {"clip/model.py": OTHER_CLIP.format(word="VPT")},
    "own MPL": {
        "#LAST": "import trainers.mpl",
        "trainers/mpl.py": OWN_TRAINER.format(name="MPL"),
        "trainer.load_model(args.model_dir, epoch=args.load_epoch)": "pass",
    },
    "loads otherwise": {
        "#IMPORTS": "import trainers.late",
        "#BEFORE_TRAINING": "trainer.load_model(None, 10)",
        "load_model(args.model_dir, ": "load_model(args.model_dir, cfg, ",
        "trainer.train()\n": "trainer.train()\n    __import__('shutil').rmtree(cfg.OUTPUT_DIR + '/MultiModalPromptLearner')\n",
        "trainers/late.py": LATE_MODEL,
    },
    "asks for more": {
        "#FLAGS": 'parser.add_argument("--dataset")',
        "#DEFAULTS": 'cfg.TASK = "B2N"; cfg.DATASET.NOISE_LABEL = True',
        "#BEFORE_OPTIONS": "assert cfg.TRAINER.NAME == 'MMRL' and args.opts[args.opts.index('TASK') + 1] == 'B2N'",
        "#AFTER_OPTIONS": "cfg.DATASET.NAME = args.dataset",
        "#BEFORE_BUILDING": "assert not cfg.DATASET.NOISE_LABEL, 'labels would be wrong'",
    },
    "changes settings": {
        "#CONFIG": "clean_cfg(cfg, args.trainer)",
        '"--backbone", default=""': '"--backbone", default="RN50"',
        "#AFTER_OPTIONS": "cfg.merge_from_list(['OPTIM.MAX_EPOCH', 3, 'OPTIM.LR', 0.5, 'TEST.FINAL_MODEL', 'best_val'])",
    },
    "lacks modules": {"#FIRST": "import wilds", "#LAST": "import trainers.not_shipped"},
}


def write_host(folder: Path, *traits: str, eol: str = "\n") -> Path:
    """A codebase with train.py, clip/, datasets/ and trainers/, under git; what it has beside the usual is in TRAITS."""
    installed = Path(str(import_clip().__file__)).parent
    shutil.copytree(installed, folder / "clip", ignore=shutil.ignore_patterns("__pycache__"))
    source = (folder / "clip" / "clip.py").read_text()
    source = source.replace("from pkg_resources import packaging", "import packaging.version")
    files = {
        "clip/clip.py": source,
        "datasets/__init__.py": "",
        "datasets/squares.py": DATASET,
        "datasets/eurosat.py": EUROSAT,
        "configs/datasets/eurosat.yaml": 'DATASET:\n  NAME: "EuroSAT"\n',
        "trainers/__init__.py": "",
        "trainers/own.py": OWN_TRAINER.format(name="OWN"),
        ".gitignore": "__pycache__/\noutput/\n",
    }
    program, model = PROGRAM, (folder / "clip" / "model.py").read_text()
    for key, text in (pair for name in traits for pair in TRAITS[name].items()):
        if "/" in key and "\n" not in key:
            files[key] = model + text if key == "clip/model.py" else text
        else:
            assert key in program
            program = program.replace(key, f"{text}\n{' ' * 4 * (key in INDENTED)}{key}" if key[0] == "#" else text)
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    (folder / "train.py").write_bytes(program.replace("\n", eol).encode())
    for words in (["init", "-q"], ["add", "-A"], ["commit", "-q", "-m", "start"]):
        git(folder, *words)
    return folder


def write_data(folder: Path) -> Path:
    """Five classes of eight small pictures."""
    rng = np.random.default_rng(0)
    for name in ("red_square", "green field", "lake", "road", "roof"):
        (folder / name).mkdir(parents=True)
        colour = rng.uniform(0, 255, (2, 2, 3))
        for number in range(8):
            pixels = np.clip(colour + rng.normal(0, 40, colour.shape), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).resize((32, 32)).save(folder / name / f"{number}.png")
    return folder


def git(folder: Path, *words: str) -> str:
    """What git says in a codebase."""
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.invalid", "-c", "core.autocrlf=false"]
    done = subprocess.run(["git", *identity, *words], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout


def write_weights(folder: Path) -> Path:
    """A small CLIP as a state dict with its bookkeeping, as published ones have it."""
    torch.save(published(random_clip(1, text_layers=4, vision_layers=4)), folder / "clip.pt")
    (folder / "mpl.yaml").write_text(BARE_CONFIG + "\nTRAINER:\n  MPL:\n    N_CTX: 1\n    PROMPT_DEPTH: 3\n")
    (folder / "own.yaml").write_text(BARE_CONFIG)
    return folder / "clip.pt"


def dassl_folder() -> str:
    """The folder in which the Dassl of these tests lies."""
    import dassl

    return str(Path(dassl.__file__).resolve().parent.parent)


@functools.cache
def site() -> str:
    """A folder in which modprompt is installed, and nothing else."""
    folder = tempfile.mkdtemp(prefix="modprompt-site-")
    atexit.register(shutil.rmtree, folder)
    (Path(folder) / "modprompt").symlink_to(ROOT / "modprompt")
    return folder


def run_in(folder: Path, *words, installed=False) -> subprocess.CompletedProcess:
    """A Python program in a codebase's folder; this checkout is on the path, or modprompt as pip installs it."""
    path = [dassl_folder(), site() if installed else str(ROOT)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, *map(str, words)]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)
