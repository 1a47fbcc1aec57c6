"""Learning-rate schedules by epoch, each with an optional warm-up."""

from modprompt.methods.parts.lr_schedule import build_lr_scheduler

__all__ = ["build_lr_scheduler"]
