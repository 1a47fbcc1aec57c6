"""See modprompt/data/readers/caltech101.py."""

from modprompt.data.readers.caltech101 import Caltech101  # noqa: F401
