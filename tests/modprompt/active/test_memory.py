"""What scoring and choosing from a pool hold at most, counted on small pools: so many bytes an image, and the rest."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from modprompt.active import acquisition, choosing
from modprompt.active.scoring import Scorer
from modprompt.active.selection import select
from modprompt.data.rounds import Active
from modprompt.engine.model import Output
from modprompt.trainers.evaluation import FeatureBatches
from tests.fake_cuda import child
from tests.fake_cuda.needed import needs_fake_cuda
from tests.held import Held

CLASSES, WIDTH = 1000, 512  # of ImageNet and ViT-B
IMAGENET, GIB = 1_281_167, 2**30
BLOCK = 2**17  # numbers of a block here
TEXT = torch.ones(CLASSES, WIDTH)


class Model:
    """Gives 1000 classes random logits."""

    def set_mode(self, mode):
        pass

    def unchanging(self):
        return torch.no_grad()

    def of_features(self, features):
        return Output(features.repeat(1, 2)[:, :CLASSES], F.normalize(features, dim=-1), TEXT)


def held(images, **settings):
    """Bytes of tensors that a round's choice holds at most, with the features that are kept."""
    torch.manual_seed(0)
    features, scorer = torch.randn(images, WIDTH), Scorer([None] * images)
    scorer._kept = FeatureBatches(features, torch.zeros(images), SimpleNamespace(batch_size=100))
    trainer = SimpleNamespace(
        model=Model(),
        evaluation=SimpleNamespace(prompts_images=False),
        device=torch.device("cpu"),
        set_model_mode=lambda mode: None,
    )
    labels = {place: place % CLASSES for place in range(3, images, 50)}
    free = [place for place in range(images) if place not in labels]
    with Held() as counted:
        seen = choosing.seen_of(scorer, trainer, free, labels, 4)
        select(seen, Active(rounds=1, **settings), 3, images, [0] * CLASSES, [str(n) for n in range(CLASSES)])
    return counted.peak["cpu"] + features.nbytes


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings", [{"method": method} for method in ("margin", "coreset", "badge")] + [{"method": "entropy", "pcb": True}]
)
def test_imagenets_pool_takes_less_than_16_gib(settings, monkeypatch):
    monkeypatch.setattr(acquisition, "NUMBERS", BLOCK)
    np.random.seed(0)
    small, large = (held(images, **settings) for images in (2000, 4000))
    an_image = (large - small) / 2000
    assert an_image >= 4 * (CLASSES + 2 * WIDTH), "what is scored was not counted"
    rest = max(0, small - 2000 * an_image) * 2**25 / BLOCK
    assert an_image * IMAGENET + rest < 16 * GIB


@pytest.mark.slow
@needs_fake_cuda
def test_on_a_gpu_a_pool_takes_what_a_batch_does():
    small, large = (child.run("tests.fake_cuda.pools:scored", images) for images in (40, 400))
    assert small["devices"] == ["cpu"] * 3
    assert large["peak"] == small["peak"] > 0
