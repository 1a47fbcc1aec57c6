"""Image features of a data set's splits, for the linear probe.

    python -m lpclip.feat_extractor --root data --dataset-config-file configs/datasets/oxford_pets.yaml
        --config-file configs/trainers/CoOp/rn50_val.yaml --output-dir clip_feat

writes clip_feat/OxfordPets/train.npz, val.npz and test.npz (feature_list: N x E float32, label_list: N). Without any
file it takes the embedded model and the digits. The flags are those of train.py.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import torch

import train
from modprompt.errors import UserError
from modprompt.files import write_arrays
from modprompt.plugin.feature_cache import encode
from modprompt.programs import left_as_found

SPLITS = ("train", "val", "test")


def extract(trainer, images) -> tuple[np.ndarray, np.ndarray]:
    """Features (N, E), not normalised, and labels (N,) of a list of images, with the transforms of a test."""
    cfg, tested = trainer.cfg, trainer.test_loader.dataset
    loader = torch.utils.data.DataLoader(
        type(tested)(cfg, images, transform=tested.transform, is_train=False),
        batch_size=cfg.DATALOADER.TEST.BATCH_SIZE,
        num_workers=cfg.DATALOADER.NUM_WORKERS,
    )
    features, labels = encode(loader, trainer.encode_image)
    return features.numpy(), labels.numpy()


def parse(argv: list[str] | None) -> tuple[argparse.Namespace, list[str]]:
    """Our own two flags, and what train.py is to read."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--split", choices=SPLITS, help="only this split")
    parser.add_argument("--output-dir", default="clip_feat", help="folder of the features")
    return parser.parse_known_args(argv)


@left_as_found()
def run(argv: list[str] | None = None) -> None:
    """Extract and save the splits that are asked for.

    Raises:
        UserError: if a split has no images, and on all that train.py refuses.
    """
    own, rest = parse(argv)
    args = train.parse_args(rest)
    for flag in ("trainer", "model_dir", "resume"):
        if getattr(args, flag):
            raise UserError(
                f"--{flag.replace('_', '-')} has no meaning here: features are those of CLIP without prompts"
            )
    args.trainer = "ZeroshotCLIP"
    cfg = train.setup_cfg(args, shots=-1)
    if cfg.SEED >= 0:
        train.set_random_seed(cfg.SEED)
    trainer = train.build_trainer(cfg)
    dataset = trainer.dm.dataset
    for split in (own.split,) if own.split else SPLITS:
        images = {"train": dataset.train_x, "val": dataset.val, "test": dataset.test}[split]
        if not images:
            raise UserError(f"{cfg.DATASET.NAME} has no images in its split {split!r}; see --split")
        path = Path(own.output_dir) / cfg.DATASET.NAME / f"{split}.npz"
        features, labels = extract(trainer, images)
        write_arrays(path, feature_list=features, label_list=labels)
        print(f"{path}: {features.shape[0]} images, {features.shape[1]} features each")


if __name__ == "__main__":
    sys.exit(train.report(run))
