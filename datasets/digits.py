"""See modprompt/data/readers/digits.py."""

from modprompt.data.readers.digits import Digits  # noqa: F401
