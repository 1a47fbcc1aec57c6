"""See modprompt/trainers/maple.py."""

from modprompt.trainers.maple import MaPLe  # noqa: F401
