"""Heads behind trained prompts: features through them, one file for both, and what is refused."""

import re

import pytest
import torch

import modprompt
from modprompt.errors import SettingError, UserError
from modprompt.io import identity
from modprompt.io.identity import PROMPTS_BEFORE
from modprompt.methods import named_files
from modprompt.methods.heads.base import unit
from modprompt.methods.records import content_hashes, contents_named
from tests.conftest import one_line
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
            if cls is modprompt.CoCoOp:
                model.prompt_learner.meta_net.linear1.bias.fill_(1.0)  # its few units would be dead
        model.save(tmp_path / f"{cls.__name__}.pt")
        return model.eval(), str(tmp_path / f"{cls.__name__}.pt")

    return make


def head_on(cls, clip_model, path, names=NAMES, **settings):
    model = cls(prompts_from=path, **settings).on(clip_model, names, dataset="EuroSAT").eval()
    with torch.no_grad():
        views = [torch.randn(6, model.width) for _ in range(2)]
        model.head.build(model.bank(views, torch.tensor([0, 0, 1, 1, 2, 2])), model.scale())
        for one in model.head.parameters():
            one.add_(0.1 * torch.randn(one.shape))
    return model


@pytest.mark.parametrize("front", [modprompt.MPL, modprompt.TCP, modprompt.CLIPLoRA])
def test_features_are_those_through_the_prompts(front, prompts, clip_model, images):
    before, path = prompts(front)
    state = torch.get_rng_state()
    model = modprompt.TaskRes(prompts_from=path).on(clip_model, NAMES, dataset="EuroSAT").eval()
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


@pytest.mark.parametrize("front", [modprompt.MPL, modprompt.CoCoOp])
def test_one_file_holds_both(front, prompts, clip_model, images, tmp_path):
    _, path = prompts(front)
    model = head_on(modprompt.TipAdapterF, clip_model, path)
    model.save(tmp_path / "own.pt")
    (tmp_path / f"{front.__name__}.pt").unlink()
    again = modprompt.load(tmp_path / "own.pt", clip_model)
    again.save(tmp_path / "twice.pt")
    with torch.no_grad():
        assert torch.equal(again(images), model(images))
        assert torch.equal(again.with_classes(NEW)(images), model.with_classes(NEW)(images))
        assert torch.equal(modprompt.load(tmp_path / "twice.pt", clip_model)(images), model(images))
    if front is modprompt.CoCoOp:
        with pytest.raises(UserError, match="makes new class prompts for each image"):
            again.classifier()


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
        (modprompt.CoCoOp, {}, "ADAPTER needs one text feature per class, but the prompts in "),
        (
            modprompt.CoOp,
            {"csc": True},
            "contains a separate context for each class (CSC), but these contexts were learned for other class names",
        ),
        (modprompt.TaskRes, {}, "was written by TaskRes, but a head can only be trained on top of"),
        (modprompt.DPLSearch, {}, "was written by DPLSearch, but a head can only be trained on top of"),
    ],
)
def test_what_no_head_stands_behind_is_told_in_a_line(front, settings, what, prompts, clip_model):
    _, path = prompts(front, **settings)
    with one_line(re.escape(what)):
        modprompt.ADAPTER(prompts_from=path).on(clip_model, NEW)


def test_prompts_keep_the_words_of_their_data_set_where_none_is_named(prompts, clip_model, images, tmp_path):
    model = on(modprompt.TCP, clip_model).with_classes(NAMES, dataset="OxfordPets").eval()
    model.save(tmp_path / "pets.pt")
    head = modprompt.CLIP_Adapter(prompts_from=str(tmp_path / "pets.pt")).on(clip_model, NAMES).eval()
    with torch.no_grad():
        assert torch.allclose(head.output(images).text, model.output(images).text, atol=1e-6)


OF_EACH = {
    modprompt.TipAdapter: {},
    modprompt.CLIP_Adapter: {},
    modprompt.TaskRes: {"residual_scale": 0.5},
    modprompt.LPPlusPlus: {},
    modprompt.ADAPTER: {"init": "ClipA", "constraint": "none"},
}


@pytest.mark.parametrize("cls", OF_EACH)
def test_behind_prompts_of_each_image_a_head_is_called_with_the_features_of_its_own(cls, prompts, clip_model, images):
    before, path = prompts(modprompt.CoCoOp)
    model = head_on(cls, clip_model, path, **OF_EACH[cls])
    with torch.no_grad():
        raw = model.encode_image(images)
        own = before.output(images).text  # (B, C, D)
        texts = [model.text_for(one[None])[0] for one in raw]  # (C, 1, D) of each image
        assert torch.allclose(unit(torch.stack(texts)[:, :, 0]), own, atol=1e-6)
        each = [model.head(one[None], model.head.pooled(text), model.scale()) for one, text in zip(raw, texts)]
        assert torch.allclose(model(images), torch.cat(each), atol=1e-4)
        assert torch.allclose(model.plain_logits(raw), before(images), atol=1e-4)
        assert not torch.allclose(own[0], own[1], atol=1e-5)


def test_the_probe_is_built_from_each_image_s_own_class_features(prompts, clip_model):
    before, path = prompts(modprompt.CoCoOp)
    torch.manual_seed(0)
    model = modprompt.LPPlusPlus(prompts_from=path).on(clip_model, NAMES, dataset="EuroSAT").eval()
    view, labels = torch.randn(6, model.width), [0, 0, 1, 1, 2, 2]
    model.head.build(model.bank([view], torch.tensor(labels)), model.scale())
    with torch.no_grad():
        near = before.of_features(view).logits / model.scale()
    own = [float(sum(near[i, c] for i in range(6) if labels[i] == c)) / 2 for c in range(3)]
    assert model.head.alpha.tolist() == pytest.approx([250 * sum(own) / 3] * 3, rel=1e-4)
    assert model.head.steepness[1] == pytest.approx(6 / (4 * float(near.square().sum(0).max())), rel=1e-4)


@pytest.mark.parametrize("cls", [modprompt.LPPlusPlus, modprompt.TipAdapterF])
def test_a_head_knows_its_own_classes_whatever_it_was_carried_to(cls, prompts, clip_model, images):
    _, path = prompts(modprompt.KgCoOp)
    model = head_on(cls, clip_model, path)
    with torch.no_grad():
        wanted, new = model(images), model.with_classes(NEW)
        assert torch.equal(new.with_classes(NAMES)(images), wanted)
        assert torch.equal(new.with_classes([*NEW, *NAMES])(images), model.with_classes([*NEW, *NAMES])(images))
        assert torch.allclose(new.with_classes(NEW[::-1])(images), new(images).flip(1), atol=1e-5)


@pytest.mark.parametrize("path", ["nowhere", "."])
def test_a_place_without_prompts_is_named_with_the_setting(path, clip_model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SettingError) as caught:
        modprompt.TipAdapter(prompts_from=path).on(clip_model, NAMES)
    assert [key for key, _ in caught.value.faults] == ["PROMPTS_FROM"]


def test_prompts_of_another_clip_are_refused(prompts):
    from tests.conftest import random_clip

    _, path = prompts(modprompt.KgCoOp)
    with pytest.raises(UserError, match="the weights of CLIP"):
        modprompt.TipAdapter(prompts_from=path).on(random_clip(7), NAMES)


def test_a_result_knows_its_prompts_by_their_file(prompts):
    _, path = prompts(modprompt.KgCoOp)
    head = modprompt.TipAdapter(prompts_from=path).prepared()
    result = {identity.IDENTITY: identity.record(content_hashes(head), contents_named(head))}

    def said(now):
        looks = named_files.looks(result, {"TRAINER.TIPADAPTER.PROMPTS_FROM": now}, pytest.fail)
        return looks[PROMPTS_BEFORE](head.metadata()[PROMPTS_BEFORE])

    assert said(path) == ""
    torch.manual_seed(5)
    prompts(modprompt.KgCoOp, n_ctx=3)
    assert said(path) == f"the prompts in {path} have changed"
    assert said("gone.pt") == "gone.pt cannot be read (No such file or directory)"
    assert PROMPTS_BEFORE not in named_files.looks({}, {"TRAINER.TIPADAPTER.PROMPTS_FROM": path}, pytest.fail)
