"""Out-of-distribution detection (TEST.OOD): how well confidence separates images of known and unknown classes.

The model has only the classes of the run. Each image has two scores, computed from its logits in float64: the largest
probability (Hendrycks and Gimpel, arXiv 1610.02136) and the negative energy, the logsumexp of the logits (Liu et al.,
arXiv 2010.03759, temperature 1). A high score means a known class. TEST.OOD needs no threshold; `threshold_entry`
records a threshold for `modprompt predict --unknown auto`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from dassl.data.data_manager import build_data_loader
from dassl.data.datasets import build_dataset
from dassl.utils import set_random_seed
from torch import Tensor
from tqdm import tqdm

from modprompt.checks import some
from modprompt.data import names
from modprompt.engine.pooling import LOGITS
from modprompt.errors import UserError
from modprompt.io.result import NEW, OOD, UNKNOWN_BELOW
from modprompt.methods.heads.model import HeadedModel
from modprompt.methods.model import PromptedModel
from modprompt.trainers import mistakes
from modprompt.trainers.prompt_trainer import PromptTrainer
from modprompt.trainers.test_predictions import scores
from modprompt.trainers.training_state import generators_kept

KEPT = 0.95  # share of held-out validation images that a threshold keeps
SCORES = ("probability", "energy")
NOT_COMPARABLE = (
    "the logits of this head are not on CLIP's scale, so its energy score cannot be compared with other methods"
)
SHORT_FEATURES = (
    "class features are means of several features, so their length is below 1 and the logits are not on CLIP's scale; "
    "the energy score cannot be compared with other methods"
)


def separation(known: np.ndarray, unknown: np.ndarray) -> dict[str, float]:
    """Return how well a score separates images of known and unknown classes, in percent.

    Args:
        known: scores (N,) of images of known classes, the positive class.
        unknown: scores (M,) of images of unknown classes.

    Returns:
        auroc_pct, the area under the ROC curve, and fpr95_pct, the false positive rate at the first threshold at which
        the true positive rate is at least 95%.
    """
    from sklearn.metrics import auc, roc_curve  # late: few runs need it

    is_known = np.r_[np.ones(len(known)), np.zeros(len(unknown))]
    false, true, _ = roc_curve(is_known, np.r_[known, unknown], drop_intermediate=False)
    return {"auroc_pct": 100 * float(auc(false, true)), "fpr95_pct": 100 * float(false[(true >= 0.95).argmax()])}


def images_of(trainer: Any) -> list[Any]:
    """Return the images of unknown classes of TEST.OOD, which are read before the training; [] without TEST.OOD.

    Raises:
        UserError: if the images are missing, one of their classes has the name of a known class, or the run classifies
            base and new images among different classes, so that their scores have no common scale.
    """
    cfg = trainer.cfg
    if not cfg.TEST.OOD:
        return []
    if isinstance(trainer, PromptTrainer) and trainer.halves_apart:
        raise UserError(
            f"TEST.OOD {cfg.TEST.OOD} is not supported in this run because {cfg.TRAINER.NAME} tests base and new "
            "classes separately. Test its trained model with --eval-only and TEST.BASE_NEW True."
        )
    with generators_kept(), mistakes.of_reader(cfg.TEST.OOD, cfg.DATASET.ROOT):
        if cfg.SEED >= 0:
            set_random_seed(cfg.SEED)  # a reader may draw a split, and keeps it
        other = build_dataset(_config_of(cfg))
    both = sorted({*map(_plain, other.classnames)} & {*map(_plain, trainer.dm.dataset.classnames)})
    if both and cfg.TEST.OOD != NEW:  # ImageNet has two classes of one name
        raise UserError(
            f"TEST.OOD {cfg.TEST.OOD} is not possible because this data set and {cfg.DATASET.NAME} share "
            f"{'the class' if len(both) == 1 else 'the classes'} {some(both)}. Set TEST.OOD to a data set with other "
            "classes."
        )
    return list(other.test)


def entry(trainer: Any, known: Tensor, images: list[Any]) -> dict[str, Any]:
    """Return the entry of result.json on TEST.OOD, and print its numbers.

    Args:
        trainer: the trainer after its test.
        known: scores (N, 2) of the tested images.
        images: the images of unknown classes.
    """
    cfg = trainer.cfg
    with generators_kept():
        unknown = torch.cat(
            [scores(logits, logits.softmax(1)) for logits in _logits(trainer, images, "testing unknown classes")]
        )
    found = {name: separation(known[:, at].numpy(), unknown[:, at].numpy()) for at, name in enumerate(SCORES)}
    note = _note_on_energy(trainer.model) if isinstance(trainer, PromptTrainer) else ""
    said = "; ".join(f"{name}: {_told(found[name])}" for name in SCORES)
    print(f"Detection of unknown classes ({cfg.TEST.OOD}, {len(unknown)} images): {said}")
    if note:
        print(f"note: {note}.")
    return {OOD: {"of": cfg.TEST.OOD, "images": len(unknown), **found, **({"note": note} if note else {})}}


def _note_on_energy(model: PromptedModel) -> str:
    """Return why the energy of a model cannot be compared with that of other methods, or "" if it can be compared."""
    if isinstance(model, HeadedModel):
        return "" if model.made.on_clip_scale else NOT_COMPARABLE
    pooling = model.prompt_learner.pooling
    return SHORT_FEATURES if pooling is not None and pooling.of == LOGITS else ""


def threshold_entry(trainer: PromptTrainer) -> dict[str, Any]:
    """Return the entry of result.json with the probability below which `predict` reports an image as unknown.

    The threshold keeps at least 95% of the validation images that the run neither trained on nor tests on. It is
    rounded down to four decimal places, so that another machine's floating-point rounding does not drop more images.
    The entry is empty if there are no such images, if the logits of the method depend on earlier images, and in tests
    on stored features.
    """
    dataset = trainer.dm.dataset
    used = {image.impath for images in (dataset.train_x, dataset.test) for image in images or ()}
    images = [image for image in dataset.val or () if image.impath not in used]
    if not images or trainer.method.in_turn or trainer.cfg.TEST.FEATURES_OF:
        return {}
    with generators_kept():
        likeliest = torch.cat(
            [logits.softmax(1).amax(1) for logits in _logits(trainer, images, "testing validation images")]
        )
    lowest = float(likeliest.sort().values[math.floor(len(images) * (1 - KEPT))])
    return {UNKNOWN_BELOW: {"probability": math.floor(1e4 * lowest) / 1e4, "images": len(images)}}


def _told(numbers: Mapping[str, float]) -> str:
    return f"AUROC {numbers['auroc_pct']:.2f}, FPR at 95% TPR {numbers['fpr95_pct']:.2f}"


def _plain(name: str) -> str:
    return name.replace("_", " ").strip().lower()


def _config_of(cfg: Any) -> Any:
    """Return the configuration for reading images of unknown classes: all test images, no few-shot list."""
    other = cfg.clone()
    other.defrost()
    other.DATASET.NUM_SHOTS, other.DATASET.SHOTS_BY_CLASS = -1, ""
    other.TEST.ONLY, other.DATASET.CHOOSE_BY = True, ""
    if cfg.TEST.OOD == NEW:
        other.DATASET.SUBSAMPLE_CLASSES = NEW
    else:
        other.DATASET.NAME, other.DATASET.SUBSAMPLE_CLASSES = names.find(cfg.TEST.OOD)[1], "all"
    other.freeze()
    return other


def _logits(trainer: Any, images: list[Any], bar: str) -> Iterator[Tensor]:
    """Yield logits (B, C) of images in float64 on the CPU, with the transform of the test."""
    cfg = trainer.cfg
    loader = build_data_loader(
        cfg,
        sampler_type=cfg.DATALOADER.TEST.SAMPLER,
        data_source=images,
        batch_size=cfg.DATALOADER.TEST.BATCH_SIZE,
        tfm=trainer.test_loader.dataset.transform,
        is_train=False,
    )
    trainer.set_model_mode("eval")
    with torch.no_grad():
        for batch in tqdm(loader, desc=bar, disable=None):
            yield trainer.model_inference(trainer.parse_batch_test(batch)[0]).cpu().double()
