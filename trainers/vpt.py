"""See modprompt/trainers/vpt.py."""

from modprompt.trainers.vpt import VPT  # noqa: F401
