"""See modprompt/trainers/mpl.py."""

from modprompt.trainers.mpl import MPL  # noqa: F401
