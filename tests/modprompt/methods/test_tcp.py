"""What TCP adds: tokens of single classes in any layers, words behind the name, an optimiser's settings."""

import pickle

import pytest
import torch
from torch import nn

from modprompt import TCP
from modprompt.clip.draws import draw_constructor
from modprompt.clip.tokenizers import ClipTokenizer
from tests import plain_tcp, plain_teachers
from tests.conftest import LAYOUTS, lay_out_for, random_clip

NAMES = ["cat", "annual crop land", "x", "photorealistic sea", "dog"]
PETS = "a photo of a {}, a type of pet."


@pytest.fixture
def clip_model():
    return random_clip(0, text_layers=4)


def batch():
    generator = torch.Generator().manual_seed(0)
    return torch.randn(3, 3, 32, 32, generator=generator), torch.tensor([0, 4, 1])


def tokens_of(texts):
    from clip import clip

    return torch.cat([clip.tokenize(text) for text in texts]).long()


def plain_loss(model, texts, teacher_template, steps, weight):
    clip_model, params = model.clip_model, dict(model.prompt_learner.named_parameters())
    frozen = plain_teachers.teacher(clip_model, NAMES, teacher_template)
    made = plain_tcp.class_tokens(params, frozen)
    text = plain_tcp.text_features(clip_model, params, made, tokens_of(texts), steps)
    return plain_tcp.loss(clip_model, text, frozen, *batch(), weight)


def require_equal(model, expected):
    parameters = list(model.prompt_learner.parameters())
    loss = model.loss(*batch())
    assert loss.item() == pytest.approx(expected.item(), abs=1e-5)
    mine, plain = (torch.autograd.grad(one, parameters, allow_unused=True) for one in (loss, expected))
    largest = max(gradient.abs().max() for gradient in plain)
    assert all((a - b).abs().max() <= 1e-5 * largest for a, b in zip(mine, plain))


@pytest.mark.parametrize(
    ("steps", "layout"), [([[0, 3], [0, 2], [4, 0], [0, 0]], "packed"), ([[0, 3], [1, 2], [2, 1], [3, 3]], "whole")]
)
def test_class_tokens_of_several_layers_are_those_of_one_class_after_the_other(steps, layout, clip_model, monkeypatch):
    lay_out_for(monkeypatch, layout)
    model = TCP(n_ctx=3, schedule_text=steps, kg_weight=5.0).on(clip_model, NAMES, dataset="OxfordPets")
    model.limit_text(2)
    require_equal(model, plain_loss(model, [f"X X X {name}, a type of pet." for name in NAMES], PETS, steps, 5))


@pytest.mark.parametrize(("place", "layout"), [*(("behind_start", one) for one in LAYOUTS), ("before_start", "packed")])
def test_fixed_words_between_context_and_name_stand_behind_class_tokens(place, layout, clip_model, monkeypatch):
    """UCF101's: "person doing" is shared up to the layer of the class tokens."""
    lay_out_for(monkeypatch, layout)
    template = "a photo of a person doing {}."
    model = TCP(layer=2, place_text=place).on(clip_model, NAMES, dataset="UCF101")
    texts = model.prompt_learner.prompt_text.texts
    assert texts == [template.replace("{}", name) for name in NAMES]
    if place == "behind_start":
        require_equal(model, plain_loss(model, texts, template, [(0, 4), (0, 0), (4, 4), (0, 0)], 8))
    else:
        assert torch.isfinite(model.loss(*batch()))


def test_the_default_is_four_of_each_class_in_place_of_the_context_at_layer_8():
    clip_model = random_clip(0, text_layers=12)
    text = TCP().on(clip_model, NAMES).prompt_learner.schedules.text
    assert text == ((0, 4), *[(0, 0)] * 7, (4, 4), *[(0, 0)] * 3)
    wide = TCP(n_ctx=6, n_class=2).on(clip_model, NAMES).prompt_learner
    assert wide.schedules.text[8] == (6, 2)
    assert wide.prompt_text.texts[0] == "X X X X X X cat."


def test_draws_are_the_references(clip_model):
    """Context, a second CLIP, the network's two layers."""
    torch.manual_seed(3)
    learner = TCP(layer=2).on(clip_model, NAMES).prompt_learner
    after = torch.rand(4)
    torch.manual_seed(3)
    assert torch.equal(learner.ctx.detach(), nn.init.normal_(torch.empty(4, 64), std=0.02))
    draw_constructor(clip_model)
    linear1, linear2 = nn.Linear(32, 8), nn.Linear(8, 4 * 64)
    assert torch.equal(learner.meta_net.linear1.weight, linear1.weight)
    assert torch.equal(learner.meta_net.linear2.bias, linear2.bias)
    assert torch.equal(torch.rand(4), after)


@pytest.mark.parametrize("given", ["True", "some_picture_of"])
def test_words_are_what_the_context_starts_from_in_any_template(given, clip_model):
    words = {"True": "a photo of a"}.get(given, "some picture of")
    learner = TCP(ctx_init=given, layer=2).on(clip_model, NAMES, dataset="Food101").prompt_learner
    expected = clip_model.token_embedding.weight[ClipTokenizer().words(words)]
    torch.testing.assert_close(learner.ctx.detach(), expected.detach())
    assert learner.prompt_text.texts[0] == f"{'X ' * len(learner.ctx)}cat, a type of food."


def test_other_classes_have_features_and_words_of_their_own_data_set(clip_model):
    model = TCP(layer=2).on(clip_model, NAMES, dataset="OxfordPets")
    other = pickle.loads(pickle.dumps(model)).with_classes(["bird", "bus"], dataset="StanfordCars")
    assert other.prompt_learner.prompt_text.texts == ["X X X X bird, a type of car", "X X X X bus, a type of car"]
    frozen = plain_teachers.teacher(clip_model, ["bird", "bus"], "a photo of a {}.")
    torch.testing.assert_close(other.prompt_learner.class_features, frozen)
    own = plain_teachers.teacher(clip_model, NAMES, PETS)
    torch.testing.assert_close(model.prompt_learner.class_features, own)  # as it was


def test_phrases_of_a_class_have_its_tokens(clip_model, tmp_path):
    (tmp_path / "phrases.json").write_text('{"cat": ["fur", "a tail"], "dog": ["ears"]}')
    learner = TCP(layer=2, aspath=str(tmp_path / "phrases.json")).on(clip_model, ["cat", "dog"]).prompt_learner
    rows = learner().text_additions[2].tokens
    assert rows.shape == (3, 4, 64)
    assert torch.equal(rows[0], rows[1])
    assert not torch.equal(rows[0], rows[2])
