import pytest
import torch

from modprompt.errors import UserError
from modprompt.prompts import PromptText, class_prompts

NAMES = ["cat", "dog with a hat", "x_y"]


def test_underscores_read_as_spaces(clip_model):
    assert class_prompts(NAMES, "a photo of a", clip_model).texts[2] == "a photo of a x y."


@pytest.mark.parametrize(("position", "ahead"), [("end", 3), ("middle", 1), ("front", 0)])
def test_class_name_stands_where_it_should(clip_model, position, ahead):
    """Token by token, against the embeddings of the sentence written out in that order."""
    from clip import clip

    ctx = torch.randn(3, 64)
    text = PromptText(NAMES, "X X X", 3, clip_model, position)(ctx)
    for row, name in zip(text, ("cat", "dog with a hat", "x y")):
        ids = clip.tokenize(name).long()[0]
        length = int(ids.argmax()) - 1
        words = clip_model.token_embedding(ids)[1 : 1 + length]
        stop = clip_model.token_embedding(clip.tokenize(".").long()[0, 1:3])
        expected = torch.cat([ctx[:ahead], words, ctx[ahead:], stop])
        torch.testing.assert_close(row[1 : 1 + len(expected)], expected)


def test_contexts_of_single_classes_and_of_images(clip_model):
    text = PromptText(NAMES, "X X", 2, clip_model)
    own, moved = torch.randn(3, 2, 64), torch.randn(5, 1, 2, 64)
    assert torch.equal(text(own)[:, 1:3], own)
    assert text(moved).shape == (5, 3, 77, 64)
    assert torch.equal(text(moved)[4], text(moved[4, 0]))


def test_without_a_context_the_words_stay(clip_model):
    frozen = class_prompts(NAMES, "a photo of a", clip_model).embedding
    assert torch.equal(PromptText(NAMES, "a photo of a", 0, clip_model)(torch.empty(0, 64)), frozen)


def test_other_position_is_refused(clip_model):
    with pytest.raises(UserError, match="CLASS_TOKEN_POSITION must be one of end, middle, front, got 'start'"):
        PromptText(NAMES, "X", 1, clip_model, "start")
