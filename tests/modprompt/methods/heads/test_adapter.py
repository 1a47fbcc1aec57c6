"""ADAPTER: the golden runs of its heads, multipliers, classes of other names, files, settings."""

import pytest
import torch

import modprompt
from modprompt.methods.heads.adapter import RANDOM, RESIDUAL, TEXT, ClipA, PrototypesHead, TipA, multipliers
from modprompt.methods.heads.base import Bank
from modprompt.methods.heads.tip_adapter import TipAdapterHead
from tests.modprompt.methods.heads.golden import (
    BANK,
    FEATURES,
    LINEAR,
    NAMES,
    SCALE,
    accuracy_and_sum,
    of_length_1,
    run_as,
    step,
)

MEAN = BANK.text.mean(1)
RUNS = {
    "RANDOM none": (RANDOM, ""),
    "ZS none": (TEXT, ""),
    "ZS l2": (TEXT, "l2"),
    "ZS l2-balanced": (TEXT, "l2-balanced"),
    "TR none": (RESIDUAL, ""),
}


def built(starts=TEXT, constraint="", names=NAMES):
    torch.manual_seed(1)
    head = PrototypesHead(names, BANK.text.shape[-1], starts, constraint, scale=0.5)
    head.build(BANK, SCALE)
    return head


def sgd(head):
    return torch.optim.SGD(head.parameters(), 0.1, momentum=0.9)


def train(head, steps):
    optimiser = sgd(head)
    for k in range(steps):
        step(head, optimiser, BANK.views[k % 3], MEAN)


@pytest.mark.parametrize("run", RUNS)
def test_run_is_the_references(run):
    golden, head = LINEAR[run], built(*RUNS[run])
    assert head.prototypes.sum().item() == pytest.approx(golden["initial"]["prototypes"]["sum"], rel=1e-5)
    if "multipliers" in golden:
        assert head.multipliers.tolist() == pytest.approx(golden["multipliers"], abs=2e-6)
    steps = run_as(golden, head, sgd(head), MEAN)
    assert [one.penalty.item() for one in steps] == pytest.approx(golden["constraints"] or [0] * 20, abs=1e-6)
    logits = head(FEATURES["test"], MEAN, SCALE)
    assert logits.abs().sum().item() == pytest.approx(golden["test_logits"]["abs_sum"], rel=1e-5)
    assert accuracy_and_sum(head, MEAN)[0] == golden["test_accuracy"]


def plain_multipliers(how):
    """Class by class, view by view."""
    sure = []
    for c in range(5):
        found = []
        for view in BANK.views:
            for image in view[BANK.labels[0] == c]:
                logits = torch.stack([torch.cosine_similarity(image, text, 0) for text in MEAN]) * SCALE
                found.append((logits.exp() / logits.exp().sum())[c].item())
        sure.append(sum(found) / len(found))
    if "corrected" in how:
        sure = [one * 5 / sum(sure) for one in sure]
    return [sum(sure) / 5] * 5 if "constant" in how else sure


@pytest.mark.parametrize("how", ["l2", "l2-corrected", "l2-constant", "l2-corrected-constant"])
def test_multipliers_are_how_sure_zero_shot_is(how):
    assert multipliers(BANK, MEAN, SCALE, how).tolist() == pytest.approx(plain_multipliers(how), rel=1e-4)


def test_multipliers_of_classes_without_images_are_numbers():
    few = BANK.labels[0] != 2
    bank = Bank(BANK.views[:, few], BANK.labels[:, few], BANK.text)
    assert torch.isfinite(multipliers(bank, MEAN, SCALE, "l2")).all()


def test_multipliers_adapt_after_each_epoch():
    head = built(TEXT, "l2-adaptative")
    first = head.multipliers.clone()
    train(head, 2)
    distances = ((head.prototypes - MEAN) ** 2).sum(1).detach()
    head.end_epoch()
    assert torch.equal(head.multipliers, first), "rho is 0 at first"
    train(head, 2)
    later = ((head.prototypes - MEAN) ** 2).sum(1).detach()
    head.end_epoch()
    assert torch.allclose(head.multipliers, first + distances * later)
    fixed = built(TEXT, "l2")
    train(fixed, 2), fixed.end_epoch(), fixed.end_epoch()
    assert torch.equal(fixed.multipliers, first)


@pytest.mark.parametrize("starts", [TEXT, RESIDUAL])
def test_rows_go_by_name(starts):
    head = built(starts)
    train(head, 5)
    turned = NAMES[::-1]
    other = head.for_classes(turned)(FEATURES["test"], MEAN.flip(0), SCALE)
    assert torch.allclose(other.flip(1), head(FEATURES["test"], MEAN, SCALE), atol=1e-4)


def test_clip_a_is_the_references():
    golden = LINEAR["ClipA none"]
    torch.manual_seed(1)
    head = ClipA(NAMES, 32)
    head.build(BANK, SCALE)
    assert set(head.state_dict()) == {"mlp.0.weight", "mlp.2.weight"}
    run_as(golden, head, sgd(head), MEAN)
    assert accuracy_and_sum(head, MEAN)[0] == golden["test_accuracy"]


def tip_a(published=False, trained=False):
    head = TipA(NAMES, 32, trained, published)
    head.build(BANK, SCALE)
    return head


def test_tip_adapter_is_tip_adapter():
    plain = TipAdapterHead(NAMES, 32, 1.0, 1.0)
    plain.build(BANK, SCALE)
    text = plain.pooled(BANK.text)
    assert torch.equal(
        tip_a()(FEATURES["test"], tip_a().pooled(BANK.text), SCALE), plain(FEATURES["test"], text, SCALE)
    )


def test_tip_adapter_as_published():
    """Affinities of raw features, class features that are a raw mean; image by image."""
    keys, labels = of_length_1(BANK.views.mean(0)), BANK.labels[0]
    for image, logits in zip(FEATURES["test"][:5], tip_a(published=True)(FEATURES["test"][:5], MEAN, SCALE)):
        cache = torch.zeros(5)
        for key, label in zip(keys, labels):
            cache[label] += torch.exp(-(1 - image @ key))
        wanted = SCALE * of_length_1(MEAN) @ of_length_1(image) + cache
        assert torch.allclose(logits, wanted, rtol=1e-4)


def test_keys_are_trained_on_views_and_not_on_themselves():
    assert tip_a(trained=True).keys.requires_grad
    assert not tip_a().trains
    features = tip_a(trained=True).batches(BANK, 8).features
    assert torch.equal(features, BANK.views.flatten(0, 1))
    published = tip_a(published=True, trained=True).batches(BANK, 8)
    assert torch.equal(published.features, BANK.views.mean(0))


def test_class_features_in_the_references_files_are_not_read():
    head, theirs = ClipA(NAMES, 32), ClipA(NAMES, 32)
    extra = {"prototypes": MEAN, "base_text_features": MEAN, "logit_scale": torch.tensor(4.6)}
    head.take({**theirs.state_dict(), **extra}, "file")
    assert torch.equal(head.mlp[0].weight, theirs.mlp[0].weight)


@pytest.mark.parametrize(
    ("init", "head"),
    [
        ("RANDOM", "PrototypesHead"),
        ("ZS", "PrototypesHead"),
        ("TRenh", "PrototypesHead"),
        ("ClipA", "ClipA"),
        ("TipA-f-grid_search", "TipA"),
    ],
)
def test_init_is_read_by_its_words(init, head):
    method = modprompt.ADAPTER(init=init, constraint="none")
    assert type(method.head(["a", "b"], 8)).__name__ == head
    assert (method.grid() is not None) == ("grid_search" in init)
