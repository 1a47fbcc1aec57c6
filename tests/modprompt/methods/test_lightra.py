"""LightRA against its repository's numbers, its sentences, and what it refuses; steps are in tests/plain_lightra.py."""

import json

import pytest
import torch
import torch.nn.functional as F

import modprompt
from modprompt import LightRA
from modprompt.use.export_model import ExportedModel
from tests import plain_lightra, siglips
from tests.conftest import slow_but
from tests.methods import PHRASES, words_of
from tests.modprompt.methods.reference_runs import require_recorded

NAMES = ["river", "Forest", "pasture land"]  # of one, one and two phrases
SMALL = {"vision_depth": 2, "text_depth": 3, "sentences": PHRASES, "cos_weight": 2.0, "loss_weight": 3.0}
CASES = {  # its N_CTX_TEXT is the vision side's and the other way round; its depth 1 means two layers
    "published": {},
    "some": {
        **{"LightRA.N_CTX_VISION": 2, "LightRA.N_CTX_TEXT": 3, "LightRA.VISION_DEPTH": 2, "LightRA.TEXT_DEPTH": 3},
        **{"LightRA.COS_WEIGHT": 0.5, "LightRA.LOSS_WEIGHT": 2, "OPTIM.NAME": "sgd", "OPTIM.LR": 0.05},
    },
    "large": {"LightRA.COS_WEIGHT": 1.0, "OPTIM.LR": 0.1},
}


@pytest.mark.parametrize("case", slow_but(CASES, "some"))
def test_every_loss_and_all_counts_are_the_repositorys(case, tmp_path, monkeypatch):
    options = words_of("LightRA", {"PREC": "fp32", "VISION_DEPTH": 4, "TEXT_DEPTH": 4, "SENTENCES": PHRASES})
    more = {key.replace("LightRA", "TRAINER.LightRA"): str(value) for key, value in CASES[case].items()}
    words = [*options, *(word for pair in more.items() for word in pair)]
    require_recorded("lightra", case, "", "LightRA", "LightRA/base2novel.yaml", words, tmp_path, monkeypatch)


@pytest.fixture
def images():
    return torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def learned(clip_model, names=NAMES, **settings):
    """A model whose values are not zero, and its parameters by the names of checkpoints."""
    model = LightRA(**{**SMALL, **settings}).on(clip_model, names, dataset="EuroSAT")
    with torch.no_grad():
        for one in model.prompt_learner.parameters():
            one.add_(0.3 * torch.randn(one.shape))
    params = {name: one.detach().clone().requires_grad_(True) for name, one in model.saved_state().items()}
    return model, params


def tokens_of(texts):
    from clip import clip

    return clip.tokenize(texts, truncate=True).long()


def test_a_step_is_of_one_drawn_sentence_of_each_class(clip_model, images):
    model, params = learned(clip_model)
    labels, texts, seen = torch.tensor([0, 1, 2, 2]), model.prompt_learner.prompt_text.texts, set()
    assert texts[0] == "A top-down view of river arranged in a pattern, a winding band"
    for seed in range(4):
        torch.manual_seed(seed)
        drawn = [0, 1, 2 + [int(torch.randint(count, (1,))) for count in (1, 1, 2)][2]]
        seen.add(drawn[2])
        torch.manual_seed(seed)
        loss = model.train().loss(images, labels)
        tokens = tokens_of([texts[number] for number in drawn])
        plain = plain_lightra.loss(clip_model, params, tokens, images, labels, 2.0, 3.0)
        torch.testing.assert_close(loss, plain, atol=1e-5, rtol=1e-5)
        ours = torch.autograd.grad(loss, list(model.prompt_learner.parameters()))
        for one, other in zip(ours, torch.autograd.grad(plain, list(params.values()))):
            torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-3)
    assert seen == {2, 3}


@pytest.mark.parametrize("mean", ["plain", "unit"])
@pytest.mark.slow
def test_a_test_has_the_mean_of_all_sentences_as_long_as_is_set(mean, clip_model, images):
    model, params = learned(clip_model, mean=mean)
    tokens = tokens_of(model.prompt_learner.prompt_text.texts)
    image, each, *_ = plain_lightra.features(clip_model, params, tokens, images)
    text = torch.stack([each[0], each[1], each[2:].mean(0)])
    text = text if mean == "plain" else F.normalize(text, dim=-1)
    draws = torch.get_rng_state()
    with torch.no_grad():
        logits = model.eval()(images)
        torch.testing.assert_close(logits, clip_model.logit_scale.exp() * image @ text.T, atol=1e-4, rtol=1e-4)
        exported = ExportedModel(model)
        shapes = ({0: torch.export.Dim.DYNAMIC},)  # as for an ONNX file
        program = torch.export.export(exported, (images[:2],), dynamic_shapes=shapes, strict=False).module()
        for made in (exported(images), program(images)):
            torch.testing.assert_close(made[1], logits.softmax(-1), atol=1e-5, rtol=1e-4)
    assert torch.equal(torch.get_rng_state(), draws)


def test_other_packages_towers_compute_it_too():
    clip_model = siglips.clip_of(siglips.made("open_clip"))
    model, _ = learned(clip_model, text_depth=2)
    size = clip_model.visual.input_resolution
    pictures = torch.randn(2, 3, size, size)
    with torch.no_grad():
        after = model.eval()(pictures)
        assert not torch.allclose(after, LightRA(**SMALL).on(clip_model, NAMES).eval()(pictures), atol=1e-2)
        torch.testing.assert_close(ExportedModel(model)(pictures)[1], after.softmax(-1), atol=1e-5, rtol=1e-4)
    model.train().loss(pictures, torch.tensor([0, 2])).backward()
    assert all(one.grad.abs().max() > 0 for one in model.prompt_learner.parameters())


def test_a_file_has_its_sentences_and_a_long_one_is_cut_and_told(tmp_path, clip_model, images):
    content = {name: ["short", "words " * 90] for name in NAMES}
    (tmp_path / "own.json").write_text(json.dumps(content))
    model, _ = learned(clip_model, sentences=str(tmp_path / "own.json"))
    assert "3 of them truncated to the maximum text length" in model.prompt_learner.beginning
    model.save(tmp_path / "saved.pt")
    (tmp_path / "own.json").unlink()
    with torch.no_grad():
        again = modprompt.load(tmp_path / "saved.pt", clip_model)
        assert torch.equal(again(images), model.eval()(images))
        assert again.with_classes(NAMES[:2]).eval()(images).shape == (4, 2)


@pytest.mark.parametrize("mean", ["plain", "unit"])
@pytest.mark.parametrize("head", [modprompt.TaskRes, modprompt.TDA, modprompt.TipAdapter])
def test_a_head_uses_the_mean_feature_of_the_sentences_of_a_class(head, mean, clip_model, images, tmp_path):
    model, _ = learned(clip_model, mean=mean)
    model.save(tmp_path / "saved.pt")
    headed = head(prompts_from=str(tmp_path / "saved.pt")).on(clip_model, NAMES).eval()
    with torch.no_grad():
        torch.testing.assert_close(headed.encode_image(images), model.eval().encode_image(images))
        wanted = torch.nn.functional.normalize(model.class_features().float(), dim=-1)
        torch.testing.assert_close(headed.class_features(), wanted, atol=1e-6, rtol=1e-5)
