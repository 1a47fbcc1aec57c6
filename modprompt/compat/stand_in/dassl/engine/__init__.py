"""Trainers."""

from dassl.engine.trainer import TRAINER_REGISTRY, TrainerX, build_trainer  # noqa: F401
