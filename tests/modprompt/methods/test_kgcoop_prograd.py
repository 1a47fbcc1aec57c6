"""What KgCoOp and ProGrad start from, draw and read; their steps are held by tests/modprompt/training and trainers."""

import pytest
import torch
from torch import nn

import modprompt
from modprompt import KgCoOp, ProGrad
from modprompt.clip.draws import draw_constructor
from modprompt.clip.tokenizers import ClipTokenizer
from modprompt.errors import SettingError
from modprompt.methods.records import made_with
from tests import plain_teachers

NAMES = ["cat", "golden retriever"]
PETS = "a type of pet, a photo of a"


def embedded(clip_model, words):
    return clip_model.token_embedding.weight[ClipTokenizer().words(words)].detach()


@pytest.mark.parametrize("given", ["True", "true", True])
def test_kgcoop_has_words_of_its_own_whatever_the_data_set(given, clip_model):
    model = KgCoOp(ctx_init=given).on(clip_model, NAMES, dataset="OxfordPets")
    torch.testing.assert_close(model.prompt_learner.ctx.detach(), embedded(clip_model, "a photo of a"))
    assert model.prompt_learner.prompt_text.texts == ["a photo of a cat.", "a photo of a golden retriever."]


def test_kgcoop_says_that_its_repository_starts_from_other_words():
    with pytest.warns(
        UserWarning, match='starts from "itap of a", but the original code always starts from "a photo of a"'
    ):
        KgCoOp(ctx_init="itap of a")


@pytest.mark.parametrize("cls", [KgCoOp, ProGrad])
def test_false_and_nothing_are_a_random_context_of_single_classes_too(cls, clip_model):
    for given in ("False", ""):
        assert cls(ctx_init=given, n_ctx=3).on(clip_model, NAMES).prompt_learner.ctx.shape == (3, 64)
        assert cls(ctx_init=given, n_ctx=3, csc=True).on(clip_model, NAMES).prompt_learner.ctx.shape == (2, 3, 64)


def test_prograd_starts_from_zeros_and_as_many_tokens_as_words(clip_model):
    model = ProGrad(ctx_init="True", n_ctx=10).on(clip_model, NAMES, dataset="OxfordPets")
    ctx = model.prompt_learner.ctx.detach()
    assert len(ClipTokenizer().words(PETS)) == 9  # eight words and a comma
    assert not ctx[:2].any()
    torch.testing.assert_close(ctx[2:], embedded(clip_model, PETS)[:8])


@pytest.mark.parametrize(
    ("dataset", "words", "fixed"),
    [("OxfordPets", PETS, ["a"]), ("Food101", "a type of food, a photo of", ["of"]), ("SUN397", "a photo of a", [])],
)
def test_the_last_word_stays_behind_the_context_at_a_comma(dataset, words, fixed, clip_model):
    """Logits are those of a prompt put together by hand: start, context, the fixed word, the name."""
    from clip import clip

    model = ProGrad(ctx_init="True", n_ctx=9).on(clip_model, NAMES, dataset=dataset)
    with torch.no_grad():
        model.prompt_learner.ctx.normal_()
    images = torch.randn(2, 3, 32, 32)
    texts = [" ".join(["X"] * 9 + fixed + [f"{name}."]) for name in NAMES]
    tokens = torch.cat([clip.tokenize(text) for text in texts])
    with torch.no_grad():
        expected = plain_teachers.plain.coop(clip_model, {"ctx": model.prompt_learner.ctx}, tokens, images, [1, 2])
        torch.testing.assert_close(model.eval()(images), expected, atol=1e-5, rtol=1e-4)


def test_other_classes_have_the_words_of_their_own_data_set(clip_model):
    model = ProGrad(ctx_init="True", n_ctx=9).on(clip_model, NAMES, dataset="OxfordPets")
    assert model.with_classes(["dog"]).prompt_learner.prompt_text.texts == [f"X {PETS} dog."]
    other = model.with_classes(["dog"], dataset="DescribableTextures")
    assert other.prompt_learner.prompt_text.texts == ["X X X X X X a texture of dog."]
    assert other.prompt_learner.ctx is model.prompt_learner.ctx


def test_own_images_have_the_template_that_is_given(clip_model):
    method = ProGrad(ctx_init="True", n_ctx=4, teacher_template="a scan of {}.")
    assert method.on(clip_model, NAMES).prompt_learner.prompt_text.texts[0] == "X a scan of cat."


def test_draws_are_the_references(clip_model):
    """KgCoOp: context, bias, a second CLIP, dead layers. ProGrad: a second CLIP, context."""
    torch.manual_seed(3)
    found = KgCoOp(n_ctx=2).on(clip_model, NAMES).prompt_learner.ctx.detach()
    after = torch.rand(4)
    torch.manual_seed(3)
    assert torch.equal(found, nn.init.normal_(torch.empty(2, 64), std=0.02))
    nn.init.normal_(torch.empty(1, 512), std=0.02)
    draw_constructor(clip_model)
    nn.Linear(512, 512), nn.Linear(512, 128, bias=False), nn.Linear(128, 512, bias=False)
    assert torch.equal(torch.rand(4), after)

    torch.manual_seed(3)
    found = ProGrad(n_ctx=2, ctx_init="").on(clip_model, NAMES).prompt_learner.ctx.detach()
    after = torch.rand(4)
    torch.manual_seed(3)
    draw_constructor(clip_model)
    assert torch.equal(found, nn.init.normal_(torch.empty(2, 64), std=0.02))
    assert torch.equal(torch.rand(4), after)


def test_what_is_not_used_is_warned_of():
    with pytest.warns(
        UserWarning, match="TRAINER.KGCOOP.N_CTX 7 is not used, because CTX_INIT sets the number of context tokens to 4"
    ):
        KgCoOp(ctx_init="True", n_ctx=7)
    with pytest.warns(
        UserWarning,
        match="TRAINER.PROGRAD.CSC is not used, because CTX_INIT gives all classes the same initial context",
    ):
        ProGrad(ctx_init="True", csc=True)


def test_true_needs_words_in_front_of_the_name(clip_model):
    with pytest.raises(SettingError) as caught:
        modprompt.ProGrad(ctx_init="True", teacher_template="{} texture.").on(clip_model, ["cat", "dog"])
    assert [key for key, _ in caught.value.faults] == ["CTX_INIT"]


def test_what_class_tokens_are_made_of_is_compared():
    for cls in (modprompt.TCP, modprompt.ProGrad):
        one, two = (made_with(cls(teacher_template=text), {}) for text in ("", "a scan of {}."))
        assert one != two
    assert made_with(modprompt.KgCoOp(teacher_template="a scan of {}."), {}) == made_with(modprompt.KgCoOp(), {})
