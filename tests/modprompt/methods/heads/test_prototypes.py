"""ZS-LP, CLAP, TaskRes by ADAPTER and a linear probe: the golden runs, multipliers, and classes of other names."""

import pytest
import torch

from modprompt.methods.heads.bank import Bank
from modprompt.methods.heads.prototypes import RANDOM, RESIDUAL, TEXT, PrototypesHead, multipliers
from tests.modprompt.methods.heads.given import BANK, LINEAR, NAMES, accuracy, images, of_length_1, step
from tests.modprompt.methods.heads.golden import SCALE

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


def trained(head, steps=20):
    optimiser = torch.optim.SGD(head.parameters(), 0.1, momentum=0.9)
    return [step(head, optimiser, BANK.views[i % 3], MEAN) for i in range(steps)]


@pytest.mark.parametrize("run", RUNS)
def test_run_is_the_references(run):
    golden, head = LINEAR[run], built(*RUNS[run])
    assert head.prototypes.sum().item() == pytest.approx(golden["initial"]["prototypes"]["sum"], rel=1e-5)
    if "multipliers" in golden:
        assert head.multipliers.tolist() == pytest.approx(golden["multipliers"], abs=2e-6)
    steps = trained(head)
    assert [one.loss.item() for one in steps] == pytest.approx(golden["losses"], abs=1e-5)
    assert [one.logits.sum().item() for one in steps] == pytest.approx(golden["logit_sums"], rel=1e-5)
    assert [one.penalty.item() for one in steps] == pytest.approx(golden["constraints"] or [0] * 20, abs=1e-6)
    logits = head(images("test"), MEAN, SCALE)
    assert logits.abs().sum().item() == pytest.approx(golden["test_logits"]["abs_sum"], rel=1e-5)
    assert accuracy(head, "test", MEAN) == golden["test_accuracy"]


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
    trained(head, 2)
    distances = ((head.prototypes - MEAN) ** 2).sum(1).detach()
    head.end_epoch()
    assert torch.equal(head.multipliers, first), "rho is 0 at first"
    trained(head, 2)
    later = ((head.prototypes - MEAN) ** 2).sum(1).detach()
    head.end_epoch()
    assert torch.allclose(head.multipliers, first + distances * later)
    fixed = built(TEXT, "l2")
    trained(fixed, 2), fixed.end_epoch(), fixed.end_epoch()
    assert torch.equal(fixed.multipliers, first)


@pytest.mark.parametrize("starts", [RANDOM, TEXT, RESIDUAL])
def test_as_many_new_classes_as_old_have_their_own_features(starts):
    """The reference answers for them with the old ones' without a word."""
    head = built(starts, "l2")
    trained(head, 5)
    new = torch.randn(5, 32)
    logits = head.for_classes([f"new {name}" for name in NAMES])(images("test"), new, SCALE)
    assert torch.allclose(logits, SCALE * of_length_1(images("test")) @ of_length_1(new).T, atol=1e-3)


@pytest.mark.parametrize("starts", [RANDOM, TEXT, RESIDUAL])
def test_rows_go_by_name(starts):
    head = built(starts)
    trained(head, 5)
    turned = NAMES[::-1]
    other = head.for_classes(turned)(images("test"), MEAN.flip(0), SCALE)
    assert torch.allclose(other.flip(1), head(images("test"), MEAN, SCALE), atol=1e-4)


def test_class_features_of_single_images_are_taken():
    head = built(RESIDUAL)
    trained(head, 3)
    each = MEAN.expand(len(images("test")), -1, -1)
    assert torch.allclose(head(images("test"), each, SCALE), head(images("test"), MEAN, SCALE), atol=1e-3)


def test_checkpoints_have_the_references_names():
    assert set(built().state_dict()) == {"prototypes", "base_text_features", "logit_scale"}
    assert built().logit_scale.exp().item() == pytest.approx(100, rel=1e-5)
