"""See modprompt/data/readers/oxford_flowers.py."""

from modprompt.data.readers.oxford_flowers import OxfordFlowers  # noqa: F401
