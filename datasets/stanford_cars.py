"""See modprompt/data/readers/stanford_cars.py."""

from modprompt.data.readers.stanford_cars import StanfordCars  # noqa: F401
