"""See modprompt/data/readers/imagenet_a.py."""

from modprompt.data.readers.imagenet_a import ImageNetA  # noqa: F401
