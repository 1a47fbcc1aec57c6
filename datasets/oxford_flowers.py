"""See modprompt/data/readers/matlab.py."""

from modprompt.data.readers.matlab import OxfordFlowers  # noqa: F401
