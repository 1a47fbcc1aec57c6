"""Features of others: a made-up cache of five classes is read, halved and refused where its files do not fit."""

import dataclasses
import sys
import types

import pytest
import torch
import torch.nn.functional as F

from modprompt.errors import UserError
from modprompt.methods.heads.features import read_features
from tests.conftest import one_line
from tests.modprompt.methods.heads.made_up import CLASSES, SHOTS, WIDTH, directions, write_cache


@pytest.fixture
def cache(tmp_path):
    return write_cache(tmp_path)


def read(cache, **more):
    return read_features(cache, "ViT-B/32", **{"classes": cache / "classes.pt", **more})


def read_all(cache):
    features = read(cache)
    return features, features.bank(SHOTS), features.trained_keys(SHOTS)


def test_all_parts_are_there_in_single_precision_and_of_length_1(cache):
    features, bank, trained = read_all(cache)
    assert (features.shots(), features.names, len(features.tested.labels)) == ([2], ("0", "1", "2", "3", "4"), 30)
    assert bank.views.shape == (1, CLASSES * SHOTS, WIDTH)
    assert bank.labels.tolist() == [[0, 1, 2, 3, 4] * 2]
    for part in (features.tested.features, features.chosen_on.features, bank.views, bank.text):
        assert part.dtype == torch.float32
        assert torch.allclose(part.norm(dim=-1), torch.ones(part.shape[:-1]), atol=2e-3)
    assert trained.norm(dim=1).tolist() == pytest.approx([2] * 10, abs=0.01)
    assert features.bank(0).views.numel() == 0


def test_halves_of_the_classes_and_of_the_images(cache):
    whole = read(cache)
    base, new = whole.half("base"), whole.half("new")
    assert (base.names, new.names) == (("0", "1", "2"), ("3", "4"))
    assert new.tested.labels.unique().tolist() == [0, 1]
    assert new.bank(SHOTS).labels.tolist() == [[0, 1, 0, 1]]
    assert torch.equal(new.text, whole.text[3:])
    assert len(base.trained_keys(SHOTS)) == 6
    parts = read(cache, split="val").halved(seed=1)
    for images in (parts.tested, parts.chosen_on):
        assert images.labels.bincount().tolist() == [3] * 5
    both = torch.cat([parts.tested.features, parts.chosen_on.features]).sum(1).sort().values
    assert torch.equal(both, read(cache, split="val").tested.features.sum(1).sort().values)


def test_a_pickled_head_gives_its_weight_and_runs_nothing(cache, monkeypatch):
    with monkeypatch.context() as patch:
        for module in ("src", "src.modeling"):
            patch.setitem(sys.modules, module, types.ModuleType(module))
        for name in ("ClassificationHead", "Other"):
            kind = type(name, (torch.nn.Linear,), {"__module__": "src.modeling"})
            setattr(sys.modules["src.modeling"], name, kind)
            head = kind(WIDTH, CLASSES)
            head.weight.data = 100 * directions()
            torch.save(head, cache / f"{name}.pt")
    assert torch.allclose(read(cache, classes=cache / "ClassificationHead.pt").text, directions(), atol=1e-6)
    assert "src" not in sys.modules
    with pytest.raises(UserError, match=r"the file refers to src\.modeling\.Other"):
        read(cache, classes=cache / "Other.pt")


def test_files_that_do_not_fit_are_one_line(cache):
    labels, values = torch.arange(CLASSES).repeat(6), F.one_hot(torch.arange(CLASSES).repeat(2), CLASSES).half()
    rows = [
        (
            "keys_2shots",
            torch.randn(32, 10),
            "the cached image features \\(keys\\) have 32 dimensions, but the features in test_f.pt have 16",
        ),
        ("keys_2shots", torch.full((WIDTH, 10), float("nan")), "finite"),
        ("values_2shots", values[:-1], "10 images"),
        ("values_2shots", values * 0.5, "each row must be one-hot"),
        ("values_2shots", values[[0] * 10], "according to the file name, each class has 2 images"),
        ("test_f", torch.randn(4, WIDTH), r"test_f.pt \(4\) differs from .*test_l.pt \(30\)"),
        ("test_f", torch.randint(9, (30, WIDTH)), "is not a matrix of features"),
        ("test_l", labels.float(), "must contain a whole number for each image"),
        ("test_l", labels + 1, "labels up to 5"),
        ("test_l", labels - 1, "below 0"),
        ("test_f", 2 * torch.eye(WIDTH)[labels], "norms range from 2 to 2"),
        ("val_f", torch.eye(2 * WIDTH)[labels], "have the width 32"),
        ("classes", torch.randn(WIDTH, WIDTH), "the dimension of the classes is ambiguous"),
        ("classes", torch.randn(CLASSES, 7), "neither"),
        ("classes", {"other": 1}, "is not a matrix of features"),
        ("best_F_2shots", torch.randn(WIDTH, 10), "different cache keys"),
    ]
    for name, content, said in rows:
        path = cache / f"{name}.pt"
        before = path.read_bytes()
        torch.save(content, path)
        with one_line(said):
            read_all(cache)
        path.write_bytes(before)
    with pytest.raises(UserError, match=r"no keys_4shots.pt \(needed for 4-shot training\). The folder contains: 2"):
        read(cache).bank(4)
    one = dataclasses.replace(read(cache), tested=read(cache).tested.some(torch.tensor([0])))
    for divided, said in (
        (lambda: one.half("new"), "no image of the new classes"),
        (lambda: one.halved(1), "two images"),
    ):
        with pytest.raises(UserError, match=said):
            divided()
    (cache / "test_f.pt").unlink()
    with pytest.raises(UserError, match="no test_f.pt. Available splits: val"):
        read(cache)


def test_the_clip_of_both_is_named_and_another_order_of_classes_is_warned_of(cache):
    with pytest.raises(
        UserError, match="The image features were computed with ViT-B/32, but the class features with ViT-B/16"
    ):
        read(cache, classes_backbone="ViT-B/16")
    with pytest.raises(UserError, match="The folder nowhere does not exist"):
        read_features("nowhere", "ViT-B/32")
    with pytest.raises(UserError, match="Unknown CLIP model 'ViTB32'"):
        read_features(cache, "ViTB32")
    torch.save(directions().roll(1, 0), cache / "classes.pt")
    with pytest.warns(UserWarning, match="the CLIP model ViT-B/32, or their classes have a different order"):
        read(cache)
