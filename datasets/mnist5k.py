"""See modprompt/data/readers/digits.py."""

from modprompt.data.readers.digits import Mnist5k  # noqa: F401
