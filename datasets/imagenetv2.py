"""See modprompt/data/readers/imagenetv2.py."""

from modprompt.data.readers.imagenetv2 import ImageNetV2  # noqa: F401
