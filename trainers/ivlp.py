"""See modprompt/trainers/ivlp.py."""

from modprompt.trainers.ivlp import IVLP  # noqa: F401
