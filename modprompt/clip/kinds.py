"""Kinds of a CLIP's sides, by what can be put into them; PyTorch is not needed here."""

from typing import NamedTuple

PROMPTED = "prompted"  # a transformer for prompts: OpenAI's (structure.py), or in a tower (tower_sides.py)
RESNET = "ResNet"  # CLIP's own, which has no layers for prompts
FEATURES = "features"  # a tower (towers.py) that only gives features


class Kinds(NamedTuple):
    """The kinds of both sides.

    text: PROMPTED or FEATURES.
    image: PROMPTED, RESNET or FEATURES.
    """

    text: str = PROMPTED
    image: str = PROMPTED
