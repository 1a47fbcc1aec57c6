"""See modprompt/trainers/coop.py."""

from modprompt.trainers.coop import CoOp  # noqa: F401
