"""See modprompt/data/readers/imagenet_variants.py."""

from modprompt.data.readers.imagenet_variants import ImageNetSketch  # noqa: F401
