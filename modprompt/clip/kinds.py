"""What kinds of sides a CLIP has, by what they take; no PyTorch is needed to say it."""

from typing import NamedTuple

PROMPTED = "prompted"  # a transformer that takes prompts: OpenAI's (structure.py), or in a tower (tower_sides.py)
RESNET = "ResNet"  # CLIP's own, which has no layers for prompts
FEATURES = "features"  # a tower (towers.py) that gives these and nothing more


class Kinds(NamedTuple):
    """Of both sides.

    text: PROMPTED or FEATURES.
    image: PROMPTED, RESNET or FEATURES.
    """

    text: str = PROMPTED
    image: str = PROMPTED
