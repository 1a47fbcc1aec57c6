"""ClipA and TipA: the golden run, Tip-Adapter as it is and as CLAP's authors have it, names in checkpoints."""

import pytest
import torch

from modprompt.methods.heads.compared import ClipA, TipA
from modprompt.methods.heads.tip_adapter import TipAdapterHead
from tests.modprompt.methods.heads.given import BANK, LINEAR, NAMES, accuracy, images, of_length_1, step
from tests.modprompt.methods.heads.golden import SCALE

MEAN = BANK.text.mean(1)


def test_clip_adapter_is_the_references():
    golden = LINEAR["ClipA none"]
    torch.manual_seed(1)
    head = ClipA(NAMES, 32)
    head.build(BANK, SCALE)
    assert set(head.state_dict()) == {"mlp.0.weight", "mlp.2.weight"}
    optimiser = torch.optim.SGD(head.parameters(), 0.1, momentum=0.9)
    steps = [step(head, optimiser, BANK.views[i % 3], MEAN) for i in range(20)]
    assert [one.loss.item() for one in steps] == pytest.approx(golden["losses"], abs=1e-5)
    assert accuracy(head, "test", MEAN) == golden["test_accuracy"]


def built(published=False, trained=False):
    head = TipA(NAMES, 32, trained, published)
    head.build(BANK, SCALE)
    return head


def test_tip_adapter_is_tip_adapter():
    plain = TipAdapterHead(NAMES, 32, 1.0, 1.0)
    plain.build(BANK, SCALE)
    text = plain.pooled(BANK.text)
    assert torch.equal(built()(images("test"), built().pooled(BANK.text), SCALE), plain(images("test"), text, SCALE))


def test_tip_adapter_as_published():
    """Affinities of raw features, class features that are a raw mean; image by image."""
    keys, labels = of_length_1(BANK.views.mean(0)), BANK.labels[0]
    for image, logits in zip(images("test")[:5], built(published=True)(images("test")[:5], MEAN, SCALE)):
        cache = torch.zeros(5)
        for key, label in zip(keys, labels):
            cache[label] += torch.exp(-(1 - image @ key))
        wanted = SCALE * of_length_1(MEAN) @ of_length_1(image) + cache
        assert torch.allclose(logits, wanted, rtol=1e-4)


def test_keys_are_trained_on_views_and_not_on_themselves():
    assert built(trained=True).keys.requires_grad
    assert not built().trains
    features = built(trained=True).batches(BANK, 8).features
    assert torch.equal(features, BANK.views.flatten(0, 1))
    published = built(published=True, trained=True).batches(BANK, 8)
    assert torch.equal(published.features, BANK.views.mean(0))


def test_class_features_in_the_references_files_are_not_read():
    head, theirs = ClipA(NAMES, 32), ClipA(NAMES, 32)
    extra = {"prototypes": MEAN, "base_text_features": MEAN, "logit_scale": torch.tensor(4.6)}
    head.take({**theirs.state_dict(), **extra}, "file")
    assert torch.equal(head.mlp[0].weight, theirs.mlp[0].weight)
