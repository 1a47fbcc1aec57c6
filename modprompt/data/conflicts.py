"""Settings of the data set and of the test that exclude each other; all are found before any image is read."""

from yacs.config import CfgNode

from modprompt.data import names, shots_by_class
from modprompt.data.reader_facts import is_few_shot, shots_file
from modprompt.data.selection import only_tests, uses_validation
from modprompt.errors import UserError
from modprompt.io.result import NEW
from modprompt.io.settings import SHOTS_BY_CLASS, TRAIN_ON_VAL


def require_no_conflicts(cfg: CfgNode) -> None:
    """Raise UserError if settings of the data set and of the test exclude each other."""
    shots_by_class.read(cfg)  # reports errors of the file
    if cfg.TEST.BASE_NEW and not (cfg.TEST.ONLY and cfg.DATASET.SUBSAMPLE_CLASSES == "all"):
        raise UserError(
            "TEST.BASE_NEW True is only supported in a test of all classes. Add --eval-only, and set "
            "DATASET.SUBSAMPLE_CLASSES to all."
        )
    if cfg.TEST.OOD:
        _require_unknown_classes(cfg)


def _require_unknown_classes(cfg: CfgNode) -> None:
    """Raise UserError if the images of unknown classes that TEST.OOD names cannot be tested in this run."""
    asked = cfg.TEST.OOD
    if asked == NEW and cfg.DATASET.SUBSAMPLE_CLASSES != "base":
        raise UserError(
            f"TEST.OOD can only be {NEW} if the model is trained on the base classes. Set DATASET.SUBSAMPLE_CLASSES "
            "to base, or set TEST.OOD to another data set."
        )
    if asked != NEW and names.find(asked)[1] == cfg.DATASET.NAME:
        raise UserError(
            f"TEST.OOD {asked} is the data set of the run itself, so its classes are not unknown. Set TEST.OOD to "
            "another data set."
        )
    if cfg.ACTIVE.ROUNDS and not cfg.TEST.ONLY:
        raise UserError(
            f"TEST.OOD {asked} is not supported in active-learning rounds. Remove TEST.OOD, and test the trained model "
            "with --eval-only."
        )
    if cfg.TEST.SPLIT != "test" or cfg.TEST.NO_TEST:
        raise UserError(
            f"TEST.OOD {asked} can only be measured on the test images. Remove TEST.SPLIT and TEST.NO_TEST."
        )


def trains_on_validation(cfg: CfgNode) -> bool:
    """Return True if a run trains on validation images too (DATASET.TRAIN_ON_VAL).

    Raises:
        UserError: if the setting is on and the run trains on few images, chooses its images in rounds, or selects or
            measures something on validation images.
    """
    if not getattr(cfg.DATASET, "TRAIN_ON_VAL", False):
        return False
    trains, rounds = not only_tests(cfg), cfg.get("ACTIVE", {}).get("ROUNDS", 0)
    shots = SHOTS_BY_CLASS if shots_file(cfg) else f"DATASET.NUM_SHOTS {cfg.DATASET.NUM_SHOTS}"
    conflicts = (
        (cfg.TEST.SPLIT == "val", "TEST.SPLIT val measures the accuracy on them"),
        (trains and is_few_shot(cfg), f"{shots} trains on few images of each class"),
        (trains and rounds, f"ACTIVE.ROUNDS {rounds} chooses which images train"),
        (trains and cfg.TEST.FINAL_MODEL == "best_val", "TEST.FINAL_MODEL best_val selects the best epoch on them"),
        (trains and uses_validation(cfg), f"{cfg.TRAINER.NAME} with its settings selects on them"),
    )
    for applies, reason in conflicts:
        if applies:
            raise UserError(
                f"{TRAIN_ON_VAL} True adds the validation images to the training images, but {reason}. Remove "
                "one of the two settings."
            )
    return trains
