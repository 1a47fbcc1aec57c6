"""See modprompt/data/readers/folders.py."""

from modprompt.data.readers.folders import Food101  # noqa: F401
