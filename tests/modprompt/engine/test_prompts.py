"""How the prompts of all classes are laid out; what is computed of them is in tests/test_exactness.py."""

import pytest
import torch

from modprompt.engine.prompts import PromptText, class_texts, tokenize
from modprompt.errors import UserError
from tests.conftest import lay_out_for

NAMES = ["cat", "dog with a hat", "x_y", "cat"]


def build(clip_model, n_ctx, position="end", own=False, prefix=None):
    prefix = " ".join(["X"] * n_ctx) if prefix is None else prefix
    return PromptText(class_texts(NAMES, prefix), NAMES, n_ctx, clip_model, position, own)


def sentences(prompt_text, ctx, numbers=None):
    """The prompts of classes (B lists of C tensors (L, T)), put together from what is shared and what is not."""
    text = prompt_text(ctx, numbers)
    rows = []
    for image in range(text.prefix.shape[0]):
        laid = [
            torch.cat([text.prefix[image], tokens[image, number, : end[number] + 1]])
            for tokens, end, _ in text.suffixes
            for number in range(tokens.shape[1])
        ]
        rows.append(laid if text.order is None else [laid[place] for place in text.order.tolist()])
    return rows


@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize("position", ["end", "middle", "front"])
def test_prompts_are_the_same_wherever_they_are_moved(clip_model, monkeypatch, position, own):
    ctx = torch.randn(len(NAMES), 3, 64) if own else torch.randn(3, 64)
    prompt_text = build(clip_model, 3, position, own)
    before, shapes = sentences(prompt_text, ctx)[0], {name: x.shape for name, x in prompt_text.named_buffers()}
    for layout in ("whole", "packed", "whole", "arithmetic"):
        lay_out_for(monkeypatch, layout)
        prompt_text.to("cpu")  # to where it is: a move all the same
        assert (prompt_text.shared == 0) == (layout == "whole")
        (rows,) = sentences(prompt_text, ctx)
        for row, expected in zip(rows, before):
            assert torch.equal(row, expected)
    assert {name: x.shape for name, x in prompt_text.named_buffers()} == shapes


@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize("layout", ["arithmetic", "packed", "whole"])
def test_some_of_the_prompts_are_what_they_are_among_all(clip_model, monkeypatch, layout, own):
    lay_out_for(monkeypatch, layout)
    text, ctx = build(clip_model, 2, own=own), torch.randn(len(NAMES), 2, 64) if own else torch.randn(2, 64)
    (every,) = sentences(text, ctx)
    for numbers in ([2, 1, 0], [0, 3], [1], [0, 1, 2, 3]):
        (some,) = sentences(text, ctx, numbers)
        assert len(some) == len(numbers)
        assert all(torch.equal(one, every[number]) for one, number in zip(some, numbers))
        assert sum(len(suffix.end) for suffix in text(ctx, numbers).suffixes) == len(numbers)  # the others are gone


def test_what_is_too_long_is_cut_where_that_is_asked_for():
    from clip import clip

    texts = ["a short one", " ".join(f"number{n}" for n in range(70))]
    assert tokenize(texts, texts, cut=True).tolist() == clip.tokenize(texts, truncate=True).tolist()
    with pytest.raises(UserError, match="longer than the maximum of 77 text tokens"):
        tokenize(texts, texts)


def test_what_is_shared(clip_model):
    """Start, context and words in front of the name; only what is really alike where contexts or names come first."""
    assert build(clip_model, 2, prefix="X X a photo of a").shared == 1 + 2 + 4
    assert build(clip_model, 4, "middle").shared == 1 + 2
    assert build(clip_model, 4, "front").shared == 1
    assert build(clip_model, 4, own=True).shared == 1


def test_names_that_begin_alike_share_more(clip_model):
    names = ["red fox", "red panda"]
    assert PromptText(class_texts(names, "a photo of a"), names, 4, clip_model).shared == 1 + 4 + 1


@pytest.mark.parametrize(("position", "ahead"), [("middle", 2), ("front", 0)])
def test_name_moves_also_behind_words_of_several_tokens(clip_model, position, ahead):
    """CTX_INIT "a low-res photo of" has four words and six tokens: the context takes four, the rest stays."""
    from clip import clip

    names, words = ["cat", "dog with a hat"], "a low-res photo of"
    text = PromptText(class_texts(names, words), names, 4, clip_model, position)
    ctx = torch.randn(4, 64)
    (rows,) = sentences(text, ctx)

    def embedded(sentence):
        ids = clip.tokenize(sentence).long()[0]
        return clip_model.token_embedding(ids)[1 : int(ids.argmax())]

    for row, name in zip(rows, names):
        inner = torch.cat([ctx[:ahead], embedded(name), ctx[ahead:], embedded(words)[4:], embedded(".")])
        torch.testing.assert_close(row[1:-1], inner)
