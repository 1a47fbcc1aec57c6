"""See modprompt/trainers/cocoop.py."""

from modprompt.trainers.cocoop import CoCoOp  # noqa: F401
