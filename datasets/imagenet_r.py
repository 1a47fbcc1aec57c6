"""See modprompt/data/readers/imagenet_variants.py."""

from modprompt.data.readers.imagenet_variants import ImageNetR  # noqa: F401
