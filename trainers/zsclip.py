"""See modprompt/trainers/zsclip.py."""

from modprompt.trainers.zsclip import ZeroshotCLIP, ZeroshotCLIP2  # noqa: F401
