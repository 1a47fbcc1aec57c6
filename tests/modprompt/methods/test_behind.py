"""Heads behind trained prompts: features through them, one file for both, and what is refused."""

import re

import pytest
import torch

import modprompt
from modprompt.errors import SettingError, UserError
from modprompt.runs.before_head import differing_prompts
from tests.modprompt.methods.test_model import NAMES, on

NEW = ["four", "five", "six"]


@pytest.fixture
def images():
    return torch.randn(4, 3, 32, 32)


@pytest.fixture
def prompts(clip_model, tmp_path):
    """Saves prompts of a method, moved away from where they began; the model and its file."""

    def make(cls, **settings):
        model = on(cls, clip_model, **settings)
        with torch.no_grad():
            for one in model.prompt_learner.parameters():
                one.add_(0.1 * torch.randn(one.shape))
        model.save(tmp_path / f"{cls.__name__}.pt")
        return model.eval(), str(tmp_path / f"{cls.__name__}.pt")

    return make


def head_on(cls, clip_model, path, names=NAMES, **settings):
    model = cls(behind=path, **settings).on(clip_model, names, dataset="EuroSAT").eval()
    with torch.no_grad():
        views = [torch.randn(6, model.width) for _ in range(2)]
        model.head.build(model.bank(views, torch.tensor([0, 0, 1, 1, 2, 2])), model.scale())
        for one in model.head.parameters():
            one.add_(0.1 * torch.randn(one.shape))
    return model


@pytest.mark.parametrize(
    "front", [modprompt.MPL, pytest.param(modprompt.KgCoOp, marks=pytest.mark.slow), modprompt.TCP]
)
def test_features_are_those_through_the_prompts(front, prompts, clip_model, images):
    before, path = prompts(front)
    state = torch.get_rng_state()
    model = modprompt.TaskRes(behind=path).on(clip_model, NAMES, dataset="EuroSAT").eval()
    assert torch.equal(torch.get_rng_state(), state)  # TaskRes draws nothing, and its prompts are read
    with torch.no_grad():
        output, own = model.output(images), before.output(images)
    assert torch.allclose(output.image, own.image, atol=1e-6)
    assert torch.allclose(output.text, own.text, atol=1e-6)
    assert torch.allclose(output.logits, own.logits, atol=1e-4)  # with residuals of zeros
    loss = model.train().loss(images, torch.tensor([0, 1, 2, 0]))
    loss.backward()
    assert [name for name, one in model.named_parameters() if one.grad is not None] == ["head.text_feature_residuals"]


@pytest.mark.parametrize("cls", [modprompt.TipAdapter, modprompt.LPPlusPlus, modprompt.ADAPTER])
def test_on_new_classes_a_class_bound_head_is_the_prompts(cls, prompts, clip_model, images):
    before, path = prompts(modprompt.MPL)
    with torch.no_grad():
        own = before.with_classes(NEW).output(images).logits
        found = head_on(cls, clip_model, path).with_classes(NEW).output(images).logits
    assert torch.equal(found.argsort(dim=1), own.argsort(dim=1))


def test_one_file_holds_both(prompts, clip_model, images, tmp_path):
    _, path = prompts(modprompt.MPL)
    model = head_on(modprompt.TipAdapterF, clip_model, path)
    model.save(tmp_path / "own.pt")
    (tmp_path / "MPL.pt").unlink()
    again = modprompt.load(tmp_path / "own.pt", clip_model)
    with torch.no_grad():
        assert torch.equal(again(images), model(images))
        assert torch.equal(again.with_classes(NEW)(images), model.with_classes(NEW)(images))
    again.save(tmp_path / "twice.pt")
    with torch.no_grad():
        assert torch.equal(modprompt.load(tmp_path / "twice.pt", clip_model)(images), model(images))


def test_a_file_without_its_prompts_is_damaged(prompts, clip_model, tmp_path):
    _, path = prompts(modprompt.KgCoOp)
    head_on(modprompt.TipAdapter, clip_model, path).save(tmp_path / "own.pt")
    content = torch.load(tmp_path / "own.pt", weights_only=True)
    content["state_dict"] = {k: v for k, v in content["state_dict"].items() if not k.startswith("prompts.")}
    torch.save(content, tmp_path / "own.pt")
    with pytest.raises(UserError, match=re.escape(str(tmp_path / "own.pt"))):
        modprompt.load(tmp_path / "own.pt", clip_model)


@pytest.mark.parametrize(
    ("front", "settings", "what"),
    [
        (modprompt.CoCoOp, {}, "CoCoOp has other class features for each image: no head is built from these"),
        (modprompt.CoOp, {"csc": True}, "these prompts belong to their classes (CSC), which are others"),
        (modprompt.TaskRes, {}, "is of TaskRes: a head stands behind trained prompts"),
        (modprompt.DPLSearch, {}, "is of DPLSearch: a head stands behind trained prompts"),
    ],
)
def test_what_no_head_stands_behind_is_told_in_a_line(front, settings, what, prompts, clip_model):
    _, path = prompts(front, **settings)
    with pytest.raises(UserError, match=re.escape(what)) as caught:
        modprompt.ADAPTER(behind=path).on(clip_model, NEW)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("path", ["nowhere", "."])
def test_a_place_without_prompts_is_named_with_the_setting(path, clip_model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SettingError) as caught:
        modprompt.TipAdapter(behind=path).on(clip_model, NAMES)
    assert [key for key, _ in caught.value.faults] == ["BEHIND"]


def test_prompts_of_another_clip_are_refused(prompts):
    from tests.conftest import random_clip

    _, path = prompts(modprompt.KgCoOp)
    with pytest.raises(UserError, match="the weights of CLIP"):
        modprompt.TipAdapter(behind=path).on(random_clip(7), NAMES)


def test_a_result_knows_its_prompts_by_their_file(prompts, clip_model):
    _, path = prompts(modprompt.KgCoOp)
    stated = modprompt.TipAdapter(behind=path).prepared().stated()
    assert differing_prompts(stated, {"TRAINER.TIPADAPTER.BEHIND": path}) == []
    torch.manual_seed(5)
    prompts(modprompt.KgCoOp, n_ctx=3)
    assert differing_prompts(stated, {"TRAINER.TIPADAPTER.BEHIND": path}) == [f"the prompts in {path} are others now"]
    assert differing_prompts(stated, {"TRAINER.TIPADAPTER.BEHIND": "gone.pt"}) == [
        "gone.pt cannot be read (No such file or directory)"
    ]
    assert differing_prompts({}, {"TRAINER.TIPADAPTER.BEHIND": "gone.pt"}) == []
