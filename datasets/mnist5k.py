"""See modprompt/data/readers/mnist5k.py."""

from modprompt.data.readers.mnist5k import Mnist5k  # noqa: F401
