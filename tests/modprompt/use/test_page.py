"""What the page says of an image and class names, without the page."""

import pytest
from PIL import Image

from modprompt.cli import predict
from modprompt.use.page import answer, look
from modprompt.use.trained import open_trained
from tests.modprompt.use.made import model_of

WORDS = ["zero", "one", "two"]


@pytest.fixture
def trained(tmp_path):
    """Makes a saved model of a method for WORDS."""

    def make(name, **settings):
        model_of(name, WORDS, **settings).save(tmp_path / "own.pt")
        return open_trained(tmp_path / "own.pt", device="cpu")

    return make


@pytest.fixture
def image(tmp_path):
    Image.new("RGB", (40, 50), "white").save(tmp_path / "a.png")
    return str(tmp_path / "a.png")


def test_shares_and_pictures_of_every_layer(trained, image):
    given = trained("MPL", n_ctx=1, n_add_op=2, n_rm_op=1, prompt_depth=3)
    seen = [look(given, image, "zero\none\n\ntwo ", layer) for layer in range(8)]
    assert sorted(name for name, _ in seen[0].shares) == sorted(WORDS)
    assert sum(share for _, share in seen[0].shares) == pytest.approx(1)
    assert seen[0].shares == sorted(seen[0].shares, key=lambda pair: -pair[1])
    assert [len(result.pictures) for result in seen] == [1 + n for n in (1, 2, 3, 3, 3, 3, 3, 3)]
    assert seen[0].pictures[0][1].startswith("Class token: ")


def test_other_classes_have_the_same_prompts_and_the_first_ten_are_shown(trained, image):
    given = trained("VPT")
    expected = look(given.with_classes(["five", "six"]), image, "five\nsix")
    assert look(given, image, "five\nsix").shares == expected.shares
    shares, message, _ = answer(given, image, "\n".join("abcdefghijkl"))
    assert len(shares) == 10
    assert message.endswith("2 less probable classes are not shown.")


def test_a_note_in_place_of_a_result(trained, image, tmp_path):
    given = trained("CoOp", csc=True)
    (tmp_path / "fake.png").write_text("no image")
    for file, text, said in (
        (None, "one", "No image has been uploaded yet."),
        (str(tmp_path / "fake.png"), "one", "Cannot read the image"),
        (image, " \n", "There are no class names. Write at least one"),
        (image, "one\nfive", "The prompts contain a separate context for each class"),
        (image, "one\nONE", "&#x27;one&#x27; and &#x27;ONE&#x27; become the same text for CLIP"),
    ):
        shares, message, pictures = answer(given, file, text)
        assert (shares, pictures) == (None, [])
        assert said in message
        assert str(tmp_path) not in message


@pytest.mark.parametrize("name", ["TaskRes", "CLIP_Adapter"])
def test_classes_that_a_head_has_learned_nothing_for_are_told_by_page_and_command(name, trained, image, capsys):
    given = trained(name)
    said = given.model.said_of(["one", "five"])
    assert (said == "") == (name == "CLIP_Adapter")  # which sees images alone
    assert predict.main([str(given.path), image, "--classes", "one", "five"]) == 0
    assert ("learned nothing for 1 of 2 classes" in capsys.readouterr().err) == bool(said)
    assert look(given, image, "one\nfive").said == said
