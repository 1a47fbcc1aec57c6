"""The trainer of MPL; see modprompt/methods/mpl.py."""

from modprompt.trainers.mpl import MPL  # noqa: F401
