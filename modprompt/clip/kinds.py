"""What kinds of sides a CLIP has; no PyTorch is needed to say it."""

from typing import NamedTuple

STOCK = "stock"  # a transformer whose layers take prompts: OpenAI's (structure.py), or in a tower (tower_sides.py)
RESNET = "ResNet"  # CLIP's own, which has no layers for prompts
TOWER = "tower"  # another package's, which gives features and nothing more (towers.py)


class Kinds(NamedTuple):
    """Of both sides.

    text: STOCK or TOWER.
    image: STOCK, RESNET or TOWER.
    """

    text: str = STOCK
    image: str = STOCK
