"""What scoring and choosing from a pool hold at most, counted on small pools: so many bytes an image, and the rest."""

import tracemalloc
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from modprompt.active import badge, blocks, choosing, coreset, uncertainty
from modprompt.active.scoring import Scorer
from modprompt.active.selection import select
from modprompt.data.rounds import Active
from modprompt.engine.model import Output
from modprompt.trainers.evaluation import FeatureBatches
from tests.fake_cuda import child
from tests.fake_cuda.needed import needs_fake_cuda
from tests.held import Held

CLASSES, WIDTH, BATCH = 1000, 512, 100  # of ImageNet and ViT-B
IMAGENET, GIB = 1_281_167, 2**30
USED = (badge.badge, coreset.coreset, uncertainty)  # they enter themselves
TEXT = torch.ones(CLASSES, WIDTH)  # 2 MiB, whatever the pool
BLOCK = 2**17  # numbers of a block here
AT_FULL_SIZE = 2**25 / BLOCK


class Model:
    """Gives 1000 classes random logits."""

    def set_mode(self, mode):
        pass

    def unchanging(self):
        return torch.no_grad()

    def of_features(self, features):
        logits = features.repeat(1, 2)[:, :CLASSES]
        return Output(logits, F.normalize(features, dim=-1), TEXT)


def chosen(method, images, every=50, **more):
    """A round's choice; bytes of tensors that it held on the CPU, with the features that are kept, and of arrays."""
    torch.manual_seed(0)
    features, labels = torch.randn(images, WIDTH), torch.zeros(images, dtype=torch.int64)
    scorer = Scorer([None] * images)
    scorer._kept = FeatureBatches(features, labels, SimpleNamespace(batch_size=BATCH))
    trainer = SimpleNamespace(
        model=Model(),
        evaluation=SimpleNamespace(prompts_images=False),
        device=torch.device("cpu"),
        set_model_mode=lambda mode: None,
    )
    labelled = {place: place % CLASSES for place in range(3, images, every)}
    free = [place for place in range(images) if place not in labelled]
    tracemalloc.start()
    with Held() as held:
        seen = choosing.seen_of(scorer.scored(trainer), free, labelled, 4)
        counts = [0] * CLASSES
        select(seen, Active(rounds=1, method=method, **more), 3, images, counts, [str(n) for n in range(CLASSES)])
    arrays = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return held.peak["cpu"] + features.nbytes, arrays


def of_imagenet(one, two, images, grows):
    """Bytes of ImageNet's pool, from those of so many images and of twice as many; what is no image's is larger there."""
    an_image = (two - one) / images
    return an_image * IMAGENET + max(0, one - images * an_image) * grows


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "more"),
    [
        ("entropy", {}),
        ("margin", {}),
        ("least_confidence", {}),
        ("coreset", {}),
        ("badge", {}),
        ("badge", {"badge_rows": "reference"}),
        ("entropy", {"pcb": True, "gamma": 0.1}),
    ],
)
def test_imagenets_pool_takes_less_than_16_gib(method, more, monkeypatch):
    monkeypatch.setattr(blocks, "NUMBERS", BLOCK)
    monkeypatch.setattr(coreset, "BLOCK", BLOCK)
    np.random.seed(0)
    one, two = (chosen(method, images, **more)[0] for images in (2000, 4000))
    assert two - one >= 2000 * 4 * (CLASSES + 2 * WIDTH), "what is scored was not counted"
    assert of_imagenet(one, two, 2000, AT_FULL_SIZE) < 16 * GIB


@pytest.mark.slow
@pytest.mark.parametrize("method", ["cb", "cbsq"])
def test_imagenets_pool_takes_less_than_16_gib_where_it_is_clustered(method, monkeypatch):
    monkeypatch.setattr(blocks, "NUMBERS", BLOCK)
    images = 4000
    chosen(method, 200)  # what is imported is no pool's
    (one, arrays), (two, more_arrays) = (chosen(method, many, every=many // 10) for many in (images, 2 * images))
    assert more_arrays - arrays >= images * 4 * 2 * WIDTH, "what is clustered was not counted"
    of_arrays = of_imagenet(arrays, more_arrays, images, (IMAGENET / images) ** 0.5)  # as scikit-learn's blocks grow
    assert of_imagenet(one, two, images, AT_FULL_SIZE) + of_arrays < 16 * GIB


@pytest.mark.slow
@needs_fake_cuda
def test_on_a_gpu_a_pool_takes_what_a_batch_does():
    one, two = (child.run("tests.fake_cuda.pools:scored", images) for images in (40, 400))
    assert one["devices"] == ["cpu"] * 3
    assert two["peak"] == one["peak"] > 0
