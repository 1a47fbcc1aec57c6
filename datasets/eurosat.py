"""See modprompt/data/readers/folders.py."""

from modprompt.data.readers.folders import EuroSAT  # noqa: F401
