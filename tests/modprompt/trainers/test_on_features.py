"""Heads on a made-up cache: what is trained, chosen and said, and what is refused."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import modprompt
from modprompt.errors import UserError
from modprompt.methods.heads.features import read_features
from modprompt.trainers.on_features import OTHERS, compared, fit
from tests.conftest import one_line
from tests.modprompt.methods.heads.made_up import CLASSES, SHOTS, write_cache

PLAIN_TIP = {"search_hp": False, "init_alpha": 2.0, "init_beta": 5.5}


@pytest.fixture
def cache(tmp_path):
    return write_cache(tmp_path)


def read(cache, classes="classes.pt", **more):
    return read_features(cache, "ViT-B/32", classes=cache / classes if classes else "", **more)


def tip(features, keys):
    """Tip-Adapter's formula."""
    image, values = F.normalize(features.tested.features), F.one_hot(torch.arange(CLASSES).repeat(SHOTS)).float()
    return 100 * image @ features.text.t() + 2 * torch.exp(-5.5 * (1 - image @ keys.t())) @ values


def test_tip_adapter_is_its_formula_with_keys_as_with_trained_ones(cache):
    features = read(cache)
    keys = torch.load(cache / "keys_2shots.pt").float().t()
    fitted = fit(modprompt.TipAdapter(**PLAIN_TIP), features, SHOTS)
    assert torch.allclose(fitted.logits(features), tip(features, F.normalize(keys)), atol=1e-3)
    assert (fitted.kind, fitted.how) == ("", "alpha 2, beta 5.5, not selected")
    trained = fit(modprompt.TipAdapterF(**PLAIN_TIP), features, SHOTS, trained_keys=True)
    assert torch.allclose(trained.logits(features), tip(features, 2 * keys), rtol=1e-3, atol=1e-3)
    assert trained.kind == OTHERS


def test_choices_are_made_on_other_images_than_the_tested_ones(cache):
    head = modprompt.TipAdapter(search_step=(3, 3))
    assert fit(head, read(cache), SHOTS).how.endswith("selected on 10 other validation images")  # min(2, 4) a class
    rows = compared(read(cache, split="val"), [(head, None)], [SHOTS])
    assert {row.tested.images for row in rows} == {15}
    assert rows[1].fitted.how.endswith("selected on 15 other validation images")
    assert fit(head, read(cache, split="val"), SHOTS).how.endswith("because no validation images are available")


def test_new_classes_have_the_features_alone_and_are_told_apart(cache):
    plain, own, probe = compared(
        read(cache),
        [(modprompt.TipAdapter(**PLAIN_TIP), None), (modprompt.LPPlusPlus(train_epoch=2), None)],
        [SHOTS],
        base_new=True,
    )
    for row in (plain, own, probe):
        assert (row.tested.images, row.new.images, row.new.right) == (18, 12, plain.new.right)
    assert plain.apart["energy"]["auroc_pct"] > 90
    assert set(own.apart) == set(probe.apart) == {"probability"}, "their logits are not on CLIP's scale"


def test_a_head_that_answers_in_turn_is_asked_in_the_order_of_the_seed(cache):
    features, method = read(cache), modprompt.TDA(alpha=30.0, beta=1.0)
    order = torch.from_numpy(np.random.default_rng(3).permutation(30))
    fitted = fit(method, features, 0, seed=3)
    expected = fitted.head(features.tested.features[order], features.text, fitted.scale)
    assert torch.allclose(fitted.logits(features)[order], expected, atol=1e-3)
    assert fitted.how == "images in the order of seed 3"
    (_, row) = compared(features, [(method, None)], [SHOTS], base_new=True)
    assert (row.fitted.shots, row.tested.images, row.apart) == (0, 18, {})


def test_what_a_head_cannot_do_on_features_is_one_line(cache):
    features = read(cache)
    rows = [
        (modprompt.TaskRes(), read(cache, classes=""), {}, "TaskRes needs class features"),
        (modprompt.ADAPTER(init="RANDOM"), read(cache, classes=""), {}, "or set INIT to RANDOM and CONSTRAINT none"),
        (modprompt.TipAdapter(search_on="test"), features, {}, "does not support SEARCH_ON"),
        (modprompt.LPPlusPlus(), features, {"trained_keys": True}, "Only TipAdapterF"),
        (modprompt.TipAdapter(), features, {"shots": 0}, "contains none for 0 shots. Set a number of shots"),
        (modprompt.TipAdapter(), features, {"shots": 4}, "The folder contains: 2"),
    ]
    for method, on, more, said in rows:
        with one_line(said):
            fit(method, on, **{"shots": SHOTS, **more})
    before = torch.get_rng_state(), torch.get_num_threads()
    with pytest.raises(UserError, match=r"\(needed for 4-shot training\). The folder contains: 2"):
        compared(features, [(modprompt.LPPlusPlus(train_epoch=1), None)], [SHOTS, 4])
    assert torch.equal(torch.get_rng_state(), before[0]), "it is said before anything is fitted"
    fit(modprompt.LPPlusPlus(train_epoch=1), features, SHOTS)
    assert torch.get_num_threads() == before[1]
    with pytest.raises(UserError, match="Zero-shot classification needs class features"):
        compared(read(cache, classes=""), [], [])
