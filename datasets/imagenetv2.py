"""See modprompt/data/readers/imagenet_variants.py."""

from modprompt.data.readers.imagenet_variants import ImageNetV2  # noqa: F401
