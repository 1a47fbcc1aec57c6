"""Methods whose classes have phrases, against one prompt after the other; their files and what is refused."""

import json

import pytest
import torch
import torch.nn.functional as F

import modprompt
from modprompt.errors import UserError
from modprompt.io.descriptions import Descriptions
from modprompt.methods.parts.text import Described
from modprompt.methods.search.over import Search
from tests import plain_neighbours as plain
from tests.conftest import SAID

NAMES = ["Great_Tit", "owl", "Sea Gull"]
PHRASES = {
    "great tit": ["black cap", "yellow belly", "small"],
    "OWL": ["round face"],
    "sea gull": ["white", "grey wings"],
}
FEW = {name.lower(): own for name, own in PHRASES.items()}
MODES = {"AS": "aspath", "AE": "aepath"}


@pytest.fixture
def birds(tmp_path):
    path = tmp_path / "birds.json"
    path.write_text(json.dumps({**PHRASES, "crow": ["black"]}))
    return str(path)


def images(count=3):
    return torch.randn(count, 3, 32, 32)


def moved(model):
    """The same model, its prompts anywhere."""
    with torch.no_grad():
        for parameter in model.prompt_learner.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape))
    return model


@pytest.mark.parametrize(
    ("mode", "settings"), [("AS", {}), ("AE", {"csc": True}), ("AS", {"csc": True, "class_token_position": "middle"})]
)
def test_coop_equals_one_prompt_after_the_other(mode, settings, birds, clip_model):
    model = moved(modprompt.CoOp(n_ctx=3, **{MODES[mode]: birds}, **settings).on(clip_model, NAMES))
    ctx, batch, labels = model.prompt_learner.ctx, images(), torch.tensor([0, 2, 1])
    assert ctx.shape == ((6, 3, 64) if settings else (3, 64))
    position = settings.get("class_token_position", "end")
    names = [name.replace("_", " ").lower() for name in NAMES]
    expected = plain.described(clip_model, ctx, names, FEW, batch, mode, position)
    ours = model(batch)
    torch.testing.assert_close(ours, expected, atol=1e-5, rtol=1e-5)
    grads = [torch.autograd.grad(F.cross_entropy(x, labels), ctx)[0] for x in (ours, expected)]
    torch.testing.assert_close(*grads, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("mode", MODES)
def test_cocoop_has_class_features_of_each_image(mode, birds, clip_model):
    model = moved(modprompt.CoCoOp(n_ctx=2, **{MODES[mode]: birds}).on(clip_model, NAMES))
    learner, batch = model.prompt_learner, images()
    features = F.normalize(clip_model.encode_image(batch), dim=-1)
    names = [name.replace("_", " ").lower() for name in NAMES]
    rows = [
        plain.described(clip_model, ctx, names, FEW, image[None], mode)[0]
        for ctx, image in zip(learner.ctx + learner.meta_net(features)[:, None], batch)
    ]
    assert model.output(batch).text.shape == (3, 3, 32)
    torch.testing.assert_close(model(batch), torch.stack(rows), atol=1e-5, rtol=1e-5)


def test_prompts_stand_in_the_files_order(birds, clip_model):
    texts = modprompt.CoOp(ctx_init="a_photo_of", aspath=birds).on(clip_model, NAMES).prompt_learner.prompt_text.texts
    assert texts[:4] == [
        "a photo of great tit, which is/has black cap.",
        "a photo of great tit, which is/has yellow belly.",
        "a photo of great tit, which is/has small.",
        "a photo of owl, which is/has round face.",
    ]


def test_text_chunk_counts_classes(birds, clip_model):
    model = modprompt.CoOp(n_ctx=2, aspath=birds).on(clip_model, NAMES)
    whole = model(batch := images())
    model.limit_text(1)
    longest = max(group.length for group in model.prompt_learner.prompt_text.groups)
    assert model.text_encoder.most_tokens == 3 * longest  # of the class with three phrases
    torch.testing.assert_close(model(batch), whole)


# ---------------------------------------------------------------------- files


@pytest.mark.parametrize("method", [modprompt.CoOp(n_ctx=2, csc=True), modprompt.CoCoOp(n_ctx=2)], ids=repr)
def test_saved_model_comes_back_without_the_file(method, birds, clip_file, tmp_path):
    clip_model, _ = modprompt.load_clip(clip_file, device="cpu", **SAID)
    model = moved(type(method)(**{**method.changed(), "aepath": birds}).on(clip_model, NAMES)).eval()
    model.save(tmp_path / "prompts.pt")
    (tmp_path / "birds.json").unlink()
    again = modprompt.load(tmp_path / "prompts.pt", clip_model)
    batch = images()
    with torch.no_grad():
        assert again(batch).equal(model(batch))
    assert str(again.method.described) == str(model.method.described)
    assert again.classes == model.classes
    if not again.prompt_learner.bound:
        others = again.with_classes(["crow", "owl"])  # of the file, though no class of the model's
        assert len(others.prompt_learner.prompt_text.texts) == 2
    content = torch.load(tmp_path / "prompts.pt", weights_only=True)["modprompt"]
    assert content["method"]["the descriptions"].startswith("AE ")
    assert content["classes"]["templates"] == ["X X {}, which is/has [phrase]."]
    assert set(content["classes"]["phrases"]) == {*FEW, "crow"}


def test_file_that_lost_its_phrases_opens_no_other(birds, clip_file, tmp_path):
    from modprompt.io.records import KEY, content_hash

    clip_model, _ = modprompt.load_clip(clip_file, device="cpu", **SAID)
    modprompt.CoOp(n_ctx=2, aspath=birds).on(clip_model, NAMES).save(tmp_path / "prompts.pt")
    content = torch.load(tmp_path / "prompts.pt", weights_only=True)
    del content[KEY]["classes"]["phrases"]
    del content[KEY]["hash"]
    content[KEY]["hash"] = content_hash({KEY: content[KEY]})
    torch.save(content, tmp_path / "prompts.pt")
    with pytest.raises(UserError, match=r"is damaged: the phrases that describe its classes cannot be read"):
        modprompt.load(tmp_path / "prompts.pt", clip_model)


# ---------------------------------------------------------------------- what is refused


def test_class_without_phrases_is_named_for_other_classes(birds, clip_model):
    model = modprompt.CoOp(n_ctx=2, aspath=birds).on(clip_model, NAMES)
    with pytest.raises(UserError, match="contains no phrases for 1 of 1 classes: 'dog'"):
        model.with_classes(["dog"])


def test_long_phrase_is_named_with_its_class(tmp_path, clip_model):
    path = tmp_path / "long.json"
    path.write_text(json.dumps({"owl": ["a face", "a wing " * 40]}))
    with pytest.raises(UserError) as caught:
        modprompt.CoOp(n_ctx=2, aspath=str(path)).on(clip_model, ["owl"])
    line = str(caught.value)
    assert line.startswith("The prompt of class 'owl' with the phrase 'a wing a wing")
    assert "is longer than the maximum of 77 text tokens: 'X X owl, which is/has a wing " in line
    assert line.endswith(". Shorten CTX_INIT or the class name, or reduce N_CTX, or shorten the phrase.")


@pytest.mark.parametrize(("key", "setting"), [("ASPATH", "aspath"), ("AEPATH", "aepath")])
def test_search_is_refused_by_name(key, setting, birds):
    with pytest.raises(modprompt.SettingError, match=f"ON does not work with {key}, because prompts with phrases"):
        Search().over(modprompt.CoOp(**{setting: birds}))


def test_phrases_may_be_given_without_a_file(clip_model):
    described = Described(Descriptions({"owl": ("a", "b"), "crow": ("c",)}, "here"), "logits")
    model = modprompt.CoOp(n_ctx=2).describing(described).on(clip_model, ["owl", "crow"])
    assert model(images()).shape == (3, 2)
