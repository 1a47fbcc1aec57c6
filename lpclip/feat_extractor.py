"""Extract the CLIP image features of a data set for the linear probe, and save them in one file per split.

    python -m lpclip.feat_extractor --root data --dataset-config-file configs/datasets/oxford_pets.yaml
        --config-file configs/trainers/CoOp/rn50_val.yaml --output-dir clip_feat

This command writes clip_feat/OxfordPets/train.npz, val.npz and test.npz. Each file contains the arrays feature_list
(N x E, float32), label_list (N), own_validation and made_of, and a hash of these arrays. The command accepts the flags
of train.py. Without config files, it uses the bundled CLIP and the digits. If a data set has no validation images,
val.npz is not written, unless DATASET.VAL_FROM_TEST True uses the test images for validation.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from modprompt.cli import flags
from modprompt.compat import find as compat
from modprompt.data.reader_facts import own_validation
from modprompt.errors import UserError
from modprompt.io.arrays import arrays_hash, write_arrays
from modprompt.programs import Parser, import_modules, report

compat.add_to_path()

from dassl.engine import build_trainer  # noqa: E402
from dassl.utils import set_random_seed  # noqa: E402

import modprompt.data.readers.all  # noqa: E402
import modprompt.trainers.all  # noqa: E402, F401 - they register
from modprompt.trainers import backbone, config, kept_features  # noqa: E402
from modprompt.trainers.feature_batches import encode  # noqa: E402
from modprompt.trainers.skip_finished import split_hash  # noqa: E402

if TYPE_CHECKING:
    from dassl.data.datasets import Datum
    from dassl.engine import TrainerX

SPLITS = ("train", "val", "test")


def extract(trainer: TrainerX, images: Sequence[Datum]) -> tuple[np.ndarray, np.ndarray]:
    """Features (N, E), not normalised, and labels (N,) of a list of images, with a test's transforms."""
    cfg, tested = trainer.cfg, trainer.test_loader.dataset
    loader = torch.utils.data.DataLoader(
        type(tested)(cfg, images, transform=tested.transform, is_train=False),
        batch_size=cfg.DATALOADER.TEST.BATCH_SIZE,
        num_workers=cfg.DATALOADER.NUM_WORKERS,
    )
    features, labels = encode(loader, trainer.encode_image)
    return features.numpy(), labels.numpy()


def parse(argv: list[str] | None) -> tuple[argparse.Namespace, list[str]]:
    """Our own two flags, and the words for train.py."""
    parser = Parser(__doc__)
    parser.add_argument("--split", choices=SPLITS, help="extract only this split (default: all splits)")
    parser.add_argument("--output-dir", default="clip_feat", help="folder for the feature files (default: clip_feat)")
    return parser.parse_known_args(argv)


def run(argv: list[str] | None = None) -> None:
    """Extract and save the chosen splits.

    Raises:
        UserError: if a split has no images, or train.py refuses something.
    """

    own, rest = parse(argv)
    args = flags.parse_args(rest)
    for flag in ("trainer", "model_dir", "resume"):
        if getattr(args, flag):
            name = f"--{flag.replace('_', '-')}"
            raise UserError(
                f"{name} is not supported, because lpclip.feat_extractor extracts the features of CLIP without "
                f"prompts. Remove {name}."
            )
    args.trainer = "ZeroshotCLIP"
    import_modules(args.imports)
    args.opts = ["DATASET.NUM_SHOTS", "-1", *args.opts]
    settings = flags.settings_of(args)
    cfg = config.of_settings(settings, tests=args.eval_only)
    images = backbone.settings_of_images(cfg, settings.on_command_line())
    cfg = cfg.changed({**images, "OUTPUT_DIR": ""})  # no run is written, so no folder is locked
    if cfg.SEED >= 0:
        set_random_seed(cfg.SEED)
    trainer = build_trainer(cfg)
    dataset = trainer.dm.dataset
    wanted: tuple[str, ...] = (own.split,) if own.split else SPLITS
    has_val = own_validation(dataset)
    if "val" in wanted and not has_val and not cfg.DATASET.VAL_FROM_TEST:
        print(
            f"note: {cfg.DATASET.NAME} has no validation images, so val.npz is not written. lpclip.linear_probe will "
            "use held-out training images for validation."
        )
        (Path(own.output_dir) / cfg.DATASET.NAME / "val.npz").unlink(missing_ok=True)  # of another CLIP or split
        wanted = tuple(split for split in wanted if split != "val")
    made_of = (
        f"CLIP {trainer.fingerprint}, split {split_hash(dataset, cfg)}, "
        f"{cfg.DATASET.SUBSAMPLE_CLASSES} classes, images {kept_features.made_by(trainer, trainer.test_loader)}"
    )
    for split in wanted:
        images = {"train": dataset.train_x, "val": dataset.val, "test": dataset.test}[split]
        if not images:
            raise UserError(
                f"The split {split!r} of {cfg.DATASET.NAME} contains no images. Choose another split with --split."
            )
        write(Path(own.output_dir) / cfg.DATASET.NAME / f"{split}.npz", *extract(trainer, images), has_val, made_of)


def write(path: Path, features: np.ndarray, labels: np.ndarray, has_val: bool, made_of: str) -> None:
    """Write a split's features (N, E) and labels (N,).

    Args:
        path: the file.
        features: of the images.
        labels: of the images.
        has_val: whether the data set has validation images of its own.
        made_of: what decides features and labels, as hashes: CLIP, split, classes, how images are made and encoded.
            Features of anything else do not fit these.
    """
    own, source = np.array(has_val), np.array(made_of)
    seal = np.array(arrays_hash(path.stem, features, labels, own, source))
    write_arrays(path, feature_list=features, label_list=labels, own_validation=own, made_of=source, seal=seal)
    print(f"Saved the features of {features.shape[0]} images ({features.shape[1]} features per image) in {path}")


if __name__ == "__main__":
    sys.exit(report(run))
