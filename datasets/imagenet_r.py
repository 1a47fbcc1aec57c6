"""See modprompt/data/readers/imagenet_r.py."""

from modprompt.data.readers.imagenet_r import ImageNetR  # noqa: F401
