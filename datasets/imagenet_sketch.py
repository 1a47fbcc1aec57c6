"""See modprompt/data/readers/imagenet_sketch.py."""

from modprompt.data.readers.imagenet_sketch import ImageNetSketch  # noqa: F401
