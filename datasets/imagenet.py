"""See modprompt/data/readers/imagenet.py."""

from modprompt.data.readers.imagenet import ImageNet  # noqa: F401
