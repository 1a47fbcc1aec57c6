"""See modprompt/data/readers/folders.py."""

from modprompt.data.readers.folders import Caltech256  # noqa: F401
