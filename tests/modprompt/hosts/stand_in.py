"""Small codebases of the CoOp family, written by the tests: what launcher and installer must cope with."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from modprompt.clips.package import import_clip
from tests.conftest import BARE_CONFIG, ROOT, random_clip

PROGRAM = '''"""Stand-in program."""
import argparse

from dassl.config import clean_cfg, get_cfg_default
from dassl.engine import build_trainer
from dassl.utils import set_random_seed, setup_logger
from yacs.config import CfgNode as CN

import datasets.squares
import trainers.own{more}


def extend_cfg(cfg):
    cfg.TRAINER.OWN = CN()
    cfg.TRAINER.OWN.PREC = "fp32"
    cfg.DATASET.SUBSAMPLE_CLASSES = "all"


def main(args):
    cfg = get_cfg_default()
    if {clean}:
        clean_cfg(cfg, args.trainer)
    extend_cfg(cfg)
    cfg.merge_from_file(args.config_file)
    cfg.DATASET.NAME = "Squares"
    cfg.DATASET.ROOT, cfg.OUTPUT_DIR, cfg.SEED = args.root, args.output_dir, args.seed
    cfg.TRAINER.NAME = args.trainer
    cfg.merge_from_list(args.opts)
    cfg.freeze()
    set_random_seed(cfg.SEED)
    setup_logger(cfg.OUTPUT_DIR)
    trainer = build_trainer(cfg)
    if args.eval_only:
        trainer.load_model(args.model_dir, epoch=args.load_epoch)
        trainer.test()
    else:
        trainer.train()


parser = argparse.ArgumentParser()
for flag in ("--root", "--trainer", "--output-dir", "--config-file", "--dataset-config-file", "--model-dir"):
    parser.add_argument(flag, default="")
parser.add_argument("--seed", type=int, default=1)
parser.add_argument("--load-epoch", type=int)
parser.add_argument("--eval-only", action="store_true")
parser.add_argument("opts", nargs=argparse.REMAINDER)
if __name__ == "__main__":
    main(parser.parse_args())
'''

DATASET = '''"""Pictures of a folder per class; the first half of each is for training."""
import os

from dassl.data.datasets import DATASET_REGISTRY, Datum, DatasetBase


@DATASET_REGISTRY.register()
class Squares(DatasetBase):
    def __init__(self, cfg):
        train, test = [], []
        for label, name in enumerate(sorted(os.listdir(cfg.DATASET.ROOT))):
            folder = os.path.join(cfg.DATASET.ROOT, name)
            images = [Datum(os.path.join(folder, file), label, classname=name) for file in sorted(os.listdir(folder))]
            train += images[: len(images) // 2]
            test += images[len(images) // 2 :]
        super().__init__(train_x=train, test=test)
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

DESIGN = """

_plain_build_model = build_model


def build_model(state_dict, design_details):
    assert design_details["trainer"] in ("CoOp", "CoCoOp") and design_details["vision_depth"] == 0
    assert design_details["language_depth"] == 0
    print("building")
    return _plain_build_model(state_dict)
"""

ODD_BLOCK = """

def _needs_more(self, x, attn_mask):
    raise TypeError("a block of this codebase is never called")


ResidualAttentionBlock.forward = _needs_more
"""

LOSES_WEIGHTS = """

def build_model(state_dict):
    vision = state_dict["visual.conv1.weight"]
    model = CLIP(32, 32, 4, vision.shape[0], 16, 77, 49408, 64, 1, 4)
    return model.requires_grad_(False).apply(lambda part: [value.zero_() for value in part.parameters()])
"""

MODEL_CODE = {"plain": "", "design": DESIGN, "odd_block": ODD_BLOCK, "loses_weights": LOSES_WEIGHTS}


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


def write_host(
    folder: Path, *, clip="plain", clean=False, own_mpl=False, package=True, old_clip=False, eol="\n"
) -> Path:
    """A codebase with train.py, clip/, datasets/ and trainers/, under git.

    Args:
        folder: where.
        clip: a key of MODEL_CODE.
        clean: its program takes other trainers' nodes out of the config first.
        own_mpl: it has a trainer MPL of its own.
        package: whether clip/ has an __init__.py.
        old_clip: its clip asks for pkg_resources, which setuptools has no more.
        eol: line ends of train.py.
    """
    (folder / "datasets").mkdir(parents=True)
    (folder / "trainers").mkdir()
    for name in ("datasets", "trainers"):
        (folder / name / "__init__.py").touch()
    (folder / "datasets" / "squares.py").write_text(DATASET)
    (folder / "trainers" / "own.py").write_text(OWN_TRAINER.format(name="OWN"))
    if own_mpl:
        (folder / "trainers" / "mpl.py").write_text(OWN_TRAINER.format(name="MPL"))
    installed = Path(str(import_clip().__file__)).parent
    shutil.copytree(installed, folder / "clip", ignore=shutil.ignore_patterns("__pycache__"))
    if not old_clip:
        source = (folder / "clip" / "clip.py").read_text()
        (folder / "clip" / "clip.py").write_text(
            source.replace("from pkg_resources import packaging", "import packaging.version")
        )
    with (folder / "clip" / "model.py").open("a") as file:
        file.write(MODEL_CODE[clip])
    if not package:
        (folder / "clip" / "__init__.py").unlink()
    program = PROGRAM.format(clean=clean, more="\nimport trainers.mpl" if own_mpl else "")
    (folder / "train.py").write_bytes(program.replace("\n", eol).encode())
    (folder / ".gitignore").write_text("__pycache__/\noutput/\n")
    for words in (["init", "-q"], ["add", "-A"], ["commit", "-q", "-m", "start"]):
        git(folder, *words)
    return folder


def git(folder: Path, *words: str) -> str:
    """What git says in a codebase."""
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.invalid", "-c", "core.autocrlf=false"]
    done = subprocess.run(["git", *identity, *words], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout


def write_weights(folder: Path) -> Path:
    """A small CLIP as a state dict with its bookkeeping, as published ones have it."""
    state = random_clip(1, text_layers=4, vision_layers=4).state_dict()
    state.update(input_resolution=torch.tensor(32), context_length=torch.tensor(77), vocab_size=torch.tensor(49408))
    torch.save(state, folder / "clip.pt")
    (folder / "mpl.yaml").write_text(BARE_CONFIG + "\nTRAINER:\n  MPL:\n    N_CTX: 1\n    PROMPT_DEPTH: 3\n")
    (folder / "own.yaml").write_text(BARE_CONFIG)
    return folder / "clip.pt"


def write_open_clip(folder: Path) -> Path:
    """A small CLIP as a folder of open_clip's: GELU, heads 32 wide, squashed images of other statistics."""
    folder.mkdir()
    torch.save(random_clip(1, text_layers=4, vision_layers=4).state_dict(), folder / "open_clip_pytorch_model.bin")
    image = {"image_size": 32, "layers": 4, "width": 128, "head_width": 32, "patch_size": 16}
    model = {"embed_dim": 32, "vision_cfg": image, "text_cfg": {"layers": 4, "width": 64, "heads": 2}}
    images = {"mean": [0.5, 0.5, 0.5], "std": [0.3, 0.3, 0.3], "resize_mode": "squash"}
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": model, "preprocess_cfg": images}))
    return folder


def dassl_folder() -> str:
    """The folder in which the Dassl of these tests lies."""
    import dassl

    return str(Path(dassl.__file__).resolve().parent.parent)


def run_in(folder: Path, *words, installed=False, more_path=None) -> subprocess.CompletedProcess:
    """A Python program in a codebase's folder; modprompt is on the path unless it is installed there."""
    path = [dassl_folder()] if installed else [dassl_folder(), str(ROOT)]
    path += [str(more_path)] if more_path else []
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, *map(str, words)]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300, env=environment)
