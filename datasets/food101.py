"""See modprompt/data/readers/food101.py."""

from modprompt.data.readers.food101 import Food101  # noqa: F401
