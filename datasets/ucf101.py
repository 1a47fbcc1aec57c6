"""See modprompt/data/readers/ucf101.py."""

from modprompt.data.readers.ucf101 import UCF101  # noqa: F401
