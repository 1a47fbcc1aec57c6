"""Learning-rate schedules by epoch, each with an optional warm-up."""

from modprompt.methods.parts.lr_schedule import build_lr_scheduler  # noqa: F401
