"""What scoring and choosing from a pool hold at most, counted on small pools: so many bytes an image, and the rest."""

import numpy as np
import pytest
import torch

from modprompt.active import acquisition
from modprompt.active.selection import select
from modprompt.data.rounds import Active
from tests.held import Held
from tests.modprompt.active.given import seen_of

CLASSES, WIDTH = 1000, 512  # of ImageNet and ViT-B
IMAGENET, GIB = 1_281_167, 2**30
BLOCK = 2**17  # numbers of a block here


def held(images, **settings):
    """Bytes of tensors that a round's choice holds at most, with what it chooses from."""
    p = torch.rand(images, CLASSES)
    seen = seen_of(torch.randn(images, WIDTH), p / p.sum(dim=1, keepdim=True), 40, [0] * 40)
    with Held() as counted:
        select(seen, Active(rounds=1, **settings), 3, images, [0] * CLASSES, [str(n) for n in range(CLASSES)])
    return counted.peak["cpu"] + 4 * images * (CLASSES + WIDTH)


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings", [{"method": method} for method in ("margin", "coreset", "badge")] + [{"method": "entropy", "pcb": True}]
)
def test_imagenets_pool_takes_less_than_16_gib(settings, monkeypatch):
    monkeypatch.setattr(acquisition, "NUMBERS", BLOCK)
    np.random.seed(0)
    small, large = (held(images, **settings) for images in (2000, 4000))
    an_image = (large - small) / 2000
    rest = max(0, small - 2000 * an_image) * 2**25 / BLOCK
    assert an_image * IMAGENET + rest < 16 * GIB
