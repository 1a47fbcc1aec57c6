"""Image sides of towers against what its package makes of the same tokens."""

import pytest
import torch

from modprompt.engine.schedule import BEHIND_LN_PRE, Schedule
from modprompt.engine.tower_vision import TowerVisionEncoder
from tests import siglips


def images(count=3):
    return torch.randn(count, 3, siglips.PIXELS, siglips.PIXELS)


@pytest.mark.parametrize("steps", [[(0, 2), (0, 0), (2, 2), (0, 0)], [(0, 2), (1, 4), (3, 0), (2, 5)]])
@pytest.mark.parametrize("kind", siglips.KINDS)
def test_prompts_stand_behind_the_patches_and_are_not_pooled(kind, steps):
    found, pictures = siglips.made(kind), images()
    new = [torch.randn(add, siglips.JOINT, requires_grad=True) if add else None for _, add in steps]
    tower, learned = siglips.clip_of(found).visual, [one for one in new if one is not None]
    for place in ("", BEHIND_LN_PRE):
        ours = TowerVisionEncoder(tower, Schedule(steps, "vision", place))(pictures, new)
        theirs = siglips.run_image(found, pictures, steps, new)
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)
        mine = torch.autograd.grad(ours.square().sum(), learned)
        plain = torch.autograd.grad(theirs.square().sum(), learned)
        for one, two in zip(mine, plain):
            assert (one - two).abs().max() <= 1e-4 * two.abs().max()
