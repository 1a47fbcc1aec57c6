"""What the page says of an image and class names, without the page."""

import pytest
from PIL import Image

import modprompt
from modprompt.errors import UserError
from modprompt.use.inspection import Look, overlays
from modprompt.use.page import Answers
from modprompt.use.trained import Trained

WORDS = ["zero", "one", "two"]


def look_at(method, tmp_path):
    clip_model, preprocess = modprompt.load_clip("glyph-clip", "cpu")
    return Look(Trained(method.on(clip_model, WORDS).eval(), preprocess, tmp_path / "own.pt"))


@pytest.fixture
def image(tmp_path):
    Image.new("RGB", (40, 50), "white").save(tmp_path / "a.png")
    return str(tmp_path / "a.png")


def test_bars_and_overlays_of_every_layer(image, tmp_path):
    look = look_at(modprompt.MPL(n_ctx=1, n_add_op=2, n_rm_op=1, prompt_depth=3), tmp_path)
    seen = look.look(image, "zero\none\n\ntwo ")
    assert sorted(name for name, _ in seen.shares) == sorted(WORDS)
    assert sum(share for _, share in seen.shares) == pytest.approx(1)
    assert seen.shares == sorted(seen.shares, key=lambda one: -one[1])
    assert (look.layers, seen.said) == (8, "")
    assert [len(overlays(seen, layer)) for layer in range(8)] == [1 + n for n in (1, 2, 3, 3, 3, 3, 3, 3)]
    assert overlays(seen, 0)[0][0].startswith("class token: ")


@pytest.mark.slow
def test_other_classes_have_the_same_prompts_and_are_kept(image, tmp_path):
    look = look_at(modprompt.VPT(prompt_depth_vision=2), tmp_path)
    first = look.look(image, "five\nsix")
    assert {name for name, _ in first.shares} == {"five", "six"}
    kept = look._model
    look.look(image, "five\nsix")
    assert look._model is kept
    assert {name for name, _ in look.look(image, "\n".join(WORDS)).shares} == set(WORDS)


def test_words_that_the_clip_has_never_seen_are_said(image, tmp_path):
    seen = look_at(modprompt.ZeroshotCLIP(), tmp_path).look(image, "zero\ncat")
    assert "cat" in seen.said


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (" \n", "no class names"),
        ("one\none", "'one' is there twice"),
        ("one\nONE", "'one' and 'ONE' are the same to CLIP"),
        ("a\n" * 3 + "b\n" * 6000, "6003 class names"),
    ],
)
def test_names_that_are_none(text, said, image, tmp_path):
    with pytest.raises(UserError, match=said):
        look_at(modprompt.ZeroshotCLIP(), tmp_path).look(image, text)


def test_a_note_in_place_of_a_result(image, tmp_path):
    answers = Answers(look_at(modprompt.CoOp(n_ctx=2), tmp_path))
    assert answers.image(None, "one", 1)[0] is None
    (tmp_path / "fake.png").write_text("no image")
    kept, said, maps = answers.image(str(tmp_path / "fake.png"), "one", 1)
    assert (kept, maps) == (None, "")
    assert "cannot read the image" in said
    assert str(tmp_path) not in said
    assert "is there twice" in answers.image(image, "<b>\n<b>", 1)[1]
    assert "<b>" not in answers.image(image, "<b>\n<b>", 1)[1]


def test_prompts_of_single_classes_take_no_others(image, tmp_path):
    look = look_at(modprompt.CoOp(n_ctx=2, csc=True), tmp_path)
    assert look.bound
    assert "belong to their classes" in Answers(look).image(image, "five\nsix", 1)[1]


def test_bars_of_many_classes_are_the_first_ten(image, tmp_path):
    answers = Answers(look_at(modprompt.ZeroshotCLIP(), tmp_path))
    _, said, _ = answers.image(image, "\n".join("abcdefghijkl"), 7)
    assert said.count('class="mp-bar"') == 10
    assert "and 2 less probable classes" in said


def test_a_resnet_has_no_layers_to_show(resnet_file, image, tmp_path):
    clip_model, preprocess = modprompt.load_clip(resnet_file, "cpu", activation="quick_gelu", heads=(1, 4))
    look = Look(Trained(modprompt.CoOp(n_ctx=2).on(clip_model, ["cat", "dog"]).eval(), preprocess, tmp_path))
    seen = look.look(image, "cat\ndog")
    assert (look.layers, seen.attention, overlays(seen, 0)) == (0, None, [])
