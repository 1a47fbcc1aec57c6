"""What a run does: train, test a trained model, or test a CLIP without training."""

from typing import Any, NamedTuple

from dassl.engine import TRAINER_REGISTRY
from yacs.config import CfgNode


class Mode(NamedTuple):
    """The flags that decide what a run does: train, test or skip a finished run.

    Attributes:
        once: do nothing if the output folder already contains this run, finished.
        eval_only: test the model in model_dir and train nothing.
        model_dir: the output folder of the training run whose model is tested.
        load_epoch: the epoch whose checkpoint is tested, or None for the best or last epoch.
        no_train: build everything, but train and test nothing.
    """

    once: bool = False
    eval_only: bool = False
    model_dir: str = ""
    load_epoch: int | None = None
    no_train: bool = False


TRAINING = Mode()


def trainer_of(cfg: CfgNode) -> Any:
    """Return the trainer class that TRAINER.NAME names."""
    return TRAINER_REGISTRY.get(cfg.TRAINER.NAME)


def method_of_trainer(name: str) -> Any:
    """Return the method class of a registered trainer, or None for a trainer of another codebase."""
    return getattr(TRAINER_REGISTRY.get(name), "method_class", None)


def node_of_trainer(cfg: CfgNode) -> str:
    """Return the name of the configuration node below TRAINER for the trainer of a run, or "" if it has none."""
    return str(getattr(trainer_of(cfg), "node_name", ""))


def trains_nothing(cfg: CfgNode) -> bool:
    """Return True if the trainer only tests the original CLIP model."""
    trainer = trainer_of(cfg)
    return hasattr(trainer, "method_class") and not trainer.learns


def trains(cfg: CfgNode, mode: Mode) -> bool:
    """Return True if a run trains."""
    return not (mode.eval_only or trains_nothing(cfg))


def tested_by(cfg: CfgNode, mode: Mode) -> str:
    """Return the folder of the training run whose model is tested, or "" if no trained model is tested."""
    return mode.model_dir if mode.eval_only and not trains_nothing(cfg) else ""
