"""What codebases of the CoOp family have beside the usual, as source that stand-ins are put together from."""

PROGRAM = '''"""Stand-in program."""
import argparse
{first}
from dassl.config import clean_cfg, get_cfg_default
from dassl.engine import build_trainer
from dassl.utils import set_random_seed, setup_logger
from yacs.config import CfgNode as CN

import datasets.squares{imports}
import trainers.own{last}


def extend_cfg(cfg):
    cfg.TRAINER.OWN = CN()
    cfg.TRAINER.OWN.PREC = "fp32"
    cfg.DATASET.SUBSAMPLE_CLASSES = "all"{defaults}


# which setting a flag is for
SETTINGS = {{
    "root": "DATASET.ROOT",
    "output_dir": "OUTPUT_DIR",
    "trainer": "TRAINER.NAME",
    "backbone": "MODEL.BACKBONE.NAME",
    "seed": "SEED",
}}


def reset_cfg(cfg, args):
    given = vars(args)
    cfg.merge_from_list([word for flag, key in SETTINGS.items() if given[flag] for word in (key, given[flag])])


def setup_cfg(args):
    cfg = get_cfg_default()
    if {clean}:
        clean_cfg(cfg, args.trainer)
    extend_cfg(cfg)
    if args.dataset_config_file:
        cfg.merge_from_file(args.dataset_config_file)
    if args.config_file:
        cfg.merge_from_file(args.config_file)
    reset_cfg(cfg, args){before_options}
    cfg.merge_from_list(args.opts){after_options}
    cfg.freeze()
    return cfg


def main(args):
    cfg = setup_cfg(args)
    set_random_seed(cfg.SEED)
    setup_logger(cfg.OUTPUT_DIR){before_building}
    trainer = build_trainer(cfg)
    if args.eval_only:{load}
        trainer.test()
        return{before_training}
    trainer.train()


parser = argparse.ArgumentParser()
for flag in ("--root", "--trainer", "--output-dir", "--config-file", "--dataset-config-file", "--model-dir"):
    parser.add_argument(flag, default="")
parser.add_argument("--seed", type=int, default=1)
parser.add_argument("--backbone", default={backbone!r})
parser.add_argument("--load-epoch", type=int)
parser.add_argument("--eval-only", action="store_true"){flags}
parser.add_argument("opts", nargs=argparse.REMAINDER)
if __name__ == "__main__":
    main(parser.parse_args())
'''

# how train.py calls load_model: where it evaluates, and in front of training
LOADS = {
    "usual": ("trainer.load_model(args.model_dir, epoch=args.load_epoch)", ""),
    "note": ("trainer.load_model(args.model_dir, epoch=args.load_epoch)", "trainer.load_model(None, 10)"),
    "extra": ("trainer.load_model(args.model_dir, cfg, epoch=args.load_epoch)", ""),
    "never": ("", ""),
}

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
        super().__init__(train_x=train, test=test)
'''

EUROSAT = '''"""EuroSAT as the family lays it out."""
import os

from dassl.data.datasets import DATASET_REGISTRY, DatasetBase

from .squares import pictures


@DATASET_REGISTRY.register()
class EuroSAT(DatasetBase):
    dataset_dir = "eurosat"

    def __init__(self, cfg):
        train, test = pictures(os.path.join(os.path.abspath(cfg.DATASET.ROOT), self.dataset_dir, "2750"))
        super().__init__(train_x=train, val=test, test=test)
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


TrainerX.__init__ = _without_model
TrainerX.before_train = _build
'''

OVERRIDES = '''"""Settings by data set."""


def overrides(dataset, trainer, task):
    assert task in ["B2N", "FS", "CD"], "TASK must be one of these"
    assert trainer in ["MMRL", "MMRLpp"], "no other trainer is known here"
    return {"Squares": ["TRAINER.OWN.PREC", "fp32"]}.get(dataset, [])
'''

NOISE = '''"""Labels that are wrong on purpose, out of more classes than there are."""
from dassl.data.datasets import DatasetBase, Datum

_plain = DatasetBase.__init__


def make(count):
    def noisy(self, train_x=None, **more):
        _plain(self, train_x=train_x, **more)
        self._train_x = [Datum(item.impath, count - 1, classname=item.classname) for item in train_x]

    DatasetBase.__init__ = noisy
'''

_WORDS = """

_plain_build_model = build_model


def build_model(state_dict, design_details):
    assert design_details["trainer"] in {words!r}, "no design " + design_details["trainer"]
    assert design_details["vision_depth"] == 0
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

# what is put behind clip/model.py
MODEL_CODE = {
    "plain": "",
    "design": _WORDS.format(words=("CoOp", "CoCoOp")),
    "ivlp": _WORDS.format(words=("IVLP", "VPT")),
    "vpt": _WORDS.format(words=("VPT",)),
    "own word": _WORDS.format(words=("Mine",)),
    "odd_block": ODD_BLOCK,
    "loses_weights": LOSES_WEIGHTS,
}
