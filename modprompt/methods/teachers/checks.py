"""What a run's configuration must be for a method with a teacher."""

from typing import Any

from modprompt.clip.known import asked_of
from modprompt.clip.load import images_of
from modprompt.errors import UserError
from modprompt.methods.table import BY_NAME, beside_of, row_of
from modprompt.methods.teachers.teacher import Taught
from modprompt.methods.together import JOINING, asked

_TOLERANCE = 1e-6


def check(cfg: Any) -> None:
    """Raise UserError on images that a teacher cannot use, and on training settings that exclude one."""
    name = cfg.TRAINER.NAME
    mine = [row_of(name).method] if name in BY_NAME else []
    for method in (*mine, *(beside_of(JOINING[node].name).method for node in asked(cfg.TRAINER, name))):
        if issubclass(method, Taught):
            _check_run(cfg, method)


def _check_run(cfg: Any, method: Any) -> None:
    node = cfg.TRAINER[method.node_name()]
    if "normalize" not in cfg.INPUT.TRANSFORMS:
        raise UserError("INPUT.TRANSFORMS has no 'normalize': the teacher's images are made from normalised ones")
    images = images_of(asked_of(cfg.MODEL.BACKBONE))
    for key, own in (("PIXEL_MEAN", images.mean), ("PIXEL_STD", images.std)):
        if any(abs(mine - one) > _TOLERANCE for mine, one in zip(cfg.INPUT[key], own)):
            raise UserError(
                f"INPUT.{key} is {list(cfg.INPUT[key])}, but the student's is {list(own)}, from which the teacher's "
                "images are made: leave it out"
            )
    if cfg.TEST.ONLY:
        return
    if cfg.ACTIVE.ROUNDS:
        raise UserError(f"{method.__name__} reads no labels: it does not work in rounds that ask for labels")
    if "MODAL" in node:
        _check_training(cfg, node)


def _check_training(cfg: Any, node: Any) -> None:
    if cfg.DATALOADER.TRAIN_X.BATCH_SIZE < 2:
        raise UserError("DATALOADER.TRAIN_X.BATCH_SIZE must be at least 2: the projector needs a batch's statistics")
    if node.MODAL == "base2novel" and cfg.DATASET.SUBSAMPLE_CLASSES != "all":
        raise UserError(
            f"{cfg.TRAINER.NAME} with MODAL base2novel trains on images of all classes and tests base and new ones: "
            "leave DATASET.SUBSAMPLE_CLASSES all"
        )
    if node.MODAL == "base2novel" and (cfg.TEST.SPLIT, cfg.TEST.FINAL_MODEL) == ("val", "best_val"):
        raise UserError("TEST.SPLIT val with best_val: an epoch would be chosen by images of new classes")
    if node.CHOOSE_ON and cfg.TEST.FINAL_MODEL != "best_val":
        raise UserError("CHOOSE_ON test has no effect without TEST.FINAL_MODEL best_val: the last epoch is tested")
