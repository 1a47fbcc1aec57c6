"""See modprompt/data/readers/caltech256.py."""

from modprompt.data.readers.caltech256 import Caltech256  # noqa: F401
