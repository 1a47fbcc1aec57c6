"""See modprompt/data/readers/folders.py."""

from modprompt.data.readers.folders import Caltech101  # noqa: F401
