import warnings

import pytest

from modprompt.clip.load import load
from modprompt.clip.spec import ClipSpec
from modprompt.clip.tokens import require_distinct_names, require_known_words, unknown_words
from modprompt.errors import UserError
from tests.conftest import random_clip


@pytest.fixture(scope="module")
def glyph_clip():
    return load(ClipSpec("glyph-clip"))


def test_numerals_and_letters_are_known(glyph_clip):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        require_known_words(["zero", "one", "nine", "A", "b"], glyph_clip)


def test_names_that_are_the_same_to_it_are_refused(glyph_clip):
    with pytest.raises(
        UserError, match=r"never trained on the words of 'cat' and 'dog', so it cannot distinguish.*ViT-B/16"
    ):
        require_known_words(["zero", "cat", "dog"], glyph_clip)


def test_single_strange_name_is_warned_of(glyph_clip):
    with pytest.warns(
        UserWarning,
        match="Some words of 'cat', 'Cat' did not occur in the training data of this CLIP model, so these words have no effect",
    ):
        require_known_words(["zero", "cat", "Cat"], glyph_clip)


def test_stranger_beside_a_known_word_can_be_told_apart(glyph_clip):
    with pytest.warns(UserWarning, match="'lynx_one', 'lynx_two'"):
        require_known_words(["lynx_one", "lynx_two"], glyph_clip)


def test_clip_that_was_trained_on_all_words_knows_them():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        require_known_words(["cat", "dog"], random_clip(text_layers=1, vision_layers=1))


def test_names_of_a_published_list_that_are_one_to_clip_are_told_with_their_labels():
    names = ["missile", "crane", "Missile", "crane", "owl"]
    with pytest.warns(
        UserWarning, match=r"become the same text for CLIP: 'missile' \(0, 2\), 'crane' \(1, 3\) \(the labels"
    ):
        require_distinct_names(names, listed=True)
    with pytest.warns(UserWarning, match="class names become the same text for CLIP"):
        require_distinct_names(["crane", "crane"], known=names)
    with pytest.raises(UserError, match="'owl' is listed twice"):
        require_distinct_names(["owl", "owl"], known=names)


def test_words_that_the_embedded_one_has_not_seen_are_named_once():
    assert unknown_words(["zero", "lynx_one", "Lynx two", "a photo of a cat", "lynx"]) == ["lynx", "Lynx", "cat"]
