"""See modprompt/data/readers/eurosat.py."""

from modprompt.data.readers.eurosat import EuroSAT  # noqa: F401
