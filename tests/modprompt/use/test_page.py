"""What the page says of an image and class names, without the page."""

import pytest
from PIL import Image

import modprompt
from modprompt.cli import predict
from modprompt.use.page import answer, look
from modprompt.use.trained import Trained

WORDS = ["zero", "one", "two"]


def trained(method, tmp_path):
    clip_model, preprocess = modprompt.load_clip("glyph-clip", "cpu")
    return Trained(method.on(clip_model, WORDS).eval(), preprocess, tmp_path / "own.pt")


@pytest.fixture
def image(tmp_path):
    Image.new("RGB", (40, 50), "white").save(tmp_path / "a.png")
    return str(tmp_path / "a.png")


def test_shares_and_overlays_of_every_layer(image, tmp_path):
    method = modprompt.MPL(n_ctx=1, n_add_op=2, n_rm_op=1, prompt_depth=3)
    seen = look(trained(method, tmp_path), image, "zero\none\n\ntwo ")
    assert sorted(name for name, _ in seen.shares) == sorted(WORDS)
    assert sum(share for _, share in seen.shares) == pytest.approx(1)
    assert seen.shares == sorted(seen.shares, key=lambda one: -one[1])
    assert [len(seen.overlays(layer)) for layer in range(8)] == [1 + n for n in (1, 2, 3, 3, 3, 3, 3, 3)]
    assert seen.overlays(0)[0][1].startswith("class token: ")


def test_other_classes_have_the_same_prompts_and_unknown_words_are_said(image, tmp_path):
    given = trained(modprompt.VPT(prompt_depth_vision=2), tmp_path)
    other = look(given, image, "five\nsix")
    expected = look(given._replace(model=given.model.with_classes(["five", "six"])), image, "five\nsix")
    assert other.shares == expected.shares
    for _ in range(2):  # also of a model that was kept
        assert "cat" in look(given, image, "zero\ncat").said


def test_a_note_in_place_of_a_result(image, tmp_path):
    given = trained(modprompt.CoOp(n_ctx=2, csc=True), tmp_path)
    (tmp_path / "fake.png").write_text("no image")
    for file, text, said in (
        (None, "one", "No image yet."),
        (str(tmp_path / "fake.png"), "one", "cannot read the image"),
        (image, " \n", "no class names"),
        (image, "one\nONE", "'one' and 'ONE' are the same to CLIP"),
        (image, "five\nsix", "these prompts belong to their classes"),
    ):
        seen, shares, message = answer(given, file, text)
        assert (seen, shares) == (None, None)
        assert said in message
        assert str(tmp_path) not in message


def test_of_many_classes_the_first_ten_are_shown(image, tmp_path):
    given = trained(modprompt.ZeroshotCLIP(), tmp_path)
    seen, shares, message = answer(given, image, "\n".join("abcdefghijkl"))
    assert list(shares.items()) == seen.shares[:10]
    assert message.endswith("and 2 less probable classes")


@pytest.mark.parametrize("cls", [modprompt.TaskRes, modprompt.CLIP_Adapter])
def test_classes_that_a_head_has_learned_nothing_for_are_told_by_page_and_command(
    cls, image, tmp_path, monkeypatch, capsys
):
    given = trained(cls(), tmp_path)
    said = given.model.said_of(["one", "five"])
    assert (said == "") == (cls is modprompt.CLIP_Adapter)  # which sees images alone
    monkeypatch.setattr("modprompt.use.trained.open_trained", lambda *_, **__: given)
    assert predict.main(["run", image, "--classes", "one", "five"]) == 0
    assert ("learned nothing for 1 of 2 classes" in capsys.readouterr().err) == bool(said)
    assert look(given, image, "one\nfive").said == said
