"""See modprompt/data/readers/matlab.py."""

from modprompt.data.readers.matlab import StanfordCars  # noqa: F401
