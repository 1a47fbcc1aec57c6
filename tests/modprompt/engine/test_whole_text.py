"""Texts whose padding is read: text sides of SigLIP against what its package makes of the same tokens."""

import pytest
import torch

from modprompt.clip.towers import text_width
from modprompt.engine import whole_text
from modprompt.engine.blocks import run_block
from modprompt.engine.class_prompts import class_prompts
from modprompt.engine.encoders import text_encoder
from modprompt.engine.prompts import class_texts
from modprompt.engine.schedule import BEFORE_START, Schedule
from modprompt.engine.token_updates import OfClasses
from modprompt.errors import UserError
from tests import siglips

NAMES = ["cat", "a very long name of things", "x_y", "dog"]
LAYERS, LENGTH = siglips.TEXT_LAYERS, siglips.LENGTH
CARRIED = Schedule([(0, 2), (0, 0), (0, 0)], "text")


def prompts(clip_model, n_ctx, prefix, **more):
    return class_prompts(class_texts(NAMES, prefix), NAMES, n_ctx, clip_model, **more)


@pytest.fixture
def clip_model():
    return siglips.clip_of(siglips.made("open_clip"))


def plain_words(found, texts, ctx):
    """Embedded texts (C, L, D), context (n, D) or (C, n, D), words, end, padding, and the places of the ends."""
    rows, ends = [], []
    for number, text in enumerate(texts):
        own = ctx[number] if ctx.dim() == 3 else ctx
        ids = found.tokenizer.row(text)
        x = found.table[torch.tensor(ids)]
        rows.append(torch.cat([x[: start(found)], own, x[start(found) :]])[:LENGTH])
        ends.append(ids.index(found.tokenizer.facts.end) + len(own))
    return torch.stack(rows), ends


def start(found):
    return int(isinstance(found.tokenizer, siglips.Started))


def compare(ours, theirs, learned):
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)
    mine = torch.autograd.grad(ours.square().sum(), learned)
    plain = torch.autograd.grad(theirs.square().sum(), learned)
    for one, two in zip(mine, plain):
        assert (one - two).abs().max() <= 1e-4 * two.abs().max()


@pytest.mark.parametrize(("own", "most_tokens"), [("all", None), ("classes", 3 * LENGTH), ("deep classes", None)])
@pytest.mark.parametrize("kind", siglips.KINDS)
def test_context_and_deep_prompts_take_the_first_places(kind, own, most_tokens):
    found = siglips.made(kind)
    clip_model, width = siglips.clip_of(found), found.table.shape[1]
    ctx = torch.randn(*([len(NAMES)] if own == "classes" else []), 3, width, requires_grad=True)
    deep = torch.randn(*([len(NAMES)] if own == "deep classes" else []), 3, width, requires_grad=True)
    last = torch.randn(1, width, requires_grad=True)
    encoder = text_encoder(clip_model, Schedule([(0, 3), (3, 3), (1, 1)], "text"))
    encoder.most_tokens = most_tokens
    text = prompts(clip_model, 3, "X X X big", own_context=own == "classes")
    (ours,) = encoder(text(ctx), [None, OfClasses(deep) if deep.dim() == 3 else deep, last])

    def put(layer, x):
        x = x.clone()
        if layer == 1:
            x[:, :3] = deep
        if layer == 2:
            x[:, 2] = last
        return x

    words, ends = plain_words(found, class_texts(NAMES, "big"), ctx)
    compare(ours, siglips.run_text(found, words, put, ends), [ctx, deep, last])


@pytest.mark.parametrize("most_tokens", [None, 1])
def test_images_may_have_contexts_of_their_own(most_tokens):
    found = siglips.made("open_clip")
    clip_model = siglips.clip_of(found)
    ctx = torch.randn(2, 1, 2, siglips.TEXT_WIDTH, requires_grad=True)
    encoder = text_encoder(clip_model, CARRIED)
    encoder.most_tokens = most_tokens
    text = prompts(clip_model, 2, "a photo of a", of_images=True)
    rest = class_texts(NAMES, "of a")
    each = [
        siglips.run_text(found, words, lambda _, x: x, ends)
        for words, ends in (plain_words(found, rest, one) for one in ctx[:, 0])
    ]
    compare(encoder(text(ctx), [None] * LAYERS), torch.stack(each), [ctx])


def test_of_texts_in_chunks_no_layer_is_kept(clip_model):
    """What one backward pass holds: of all classes' layers, or of none."""
    text, ctx = prompts(clip_model, 2, "X X"), torch.randn(2, siglips.TEXT_WIDTH, requires_grad=True)
    encoder, kept = text_encoder(clip_model, CARRIED), {}
    for most in (None, LENGTH):
        encoder.most_tokens, sizes = most, []
        with torch.autograd.graph.saved_tensors_hooks(lambda x, to=sizes: to.append(x.numel()) or x, lambda x: x):
            encoder(text(ctx), [None] * LAYERS)
        kept[most] = sum(sizes)
    assert kept[LENGTH] < kept[None] / 10


def test_without_gradients_few_texts_are_computed_at_a_time(clip_model, monkeypatch):
    text, ctx = prompts(clip_model, 2, "X X"), torch.randn(2, siglips.TEXT_WIDTH)
    encoder, sizes = text_encoder(clip_model, CARRIED), set()
    whole = encoder(text(ctx), [None] * LAYERS)

    def counted(block, x, **more):
        sizes.add(len(x))
        return run_block(block, x, **more)

    monkeypatch.setattr(whole_text, "AT_ONCE", 3)
    monkeypatch.setattr(whole_text, "run_block", counted)
    with torch.no_grad():
        torch.testing.assert_close(encoder(text(ctx), [None] * LAYERS), whole)
    assert sizes == {3, 1}


@pytest.mark.parametrize(
    ("steps", "said"),
    [
        ([(0, 2), (0, 1), (0, 0)], "but layer 0 has 2 and layer 1 has 3"),
        ([(0, 2), (2, 2), (1, 0)], "but layer 0 has 2 and layer 2 has 1"),
        ([(0, 0), (0, 2), (2, 2)], "but layer 0 has 0 and layer 1 has 2"),
    ],
)
def test_a_schedule_that_grows_or_shrinks_is_refused(clip_model, steps, said):
    with pytest.raises(UserError, match=said):
        text_encoder(clip_model, Schedule(steps, "text"))


@pytest.mark.parametrize(
    ("prefix", "n_ctx", "left"),
    [("X X big", 2, "big"), ("a b c", 2, "c"), ("X a b c", 3, "c"), ("X ray", 0, "X ray"), ("X X", 2, "")],
)
def test_the_first_words_give_way_to_the_context(clip_model, prefix, n_ctx, left):
    """A placeholder is one of them, whatever a tokenizer makes of several."""
    clip_model.tokenizer.words = lambda text: [2 + len(word) for word in text.replace("X X", "XX").split()]
    text = class_prompts([f"{prefix} cat."], ["cat"], n_ctx, clip_model)
    ids = torch.tensor([2 + len(word) for word in f"{left} cat.".split()] + [1])
    torch.testing.assert_close(text.words[0], clip_model.text.module.token_embedding.weight[ids])


@pytest.mark.parametrize(
    ("n_ctx", "more", "said"),
    [
        (2, {"position": "middle"}, "CLASS_TOKEN_POSITION"),
        (2, {"averaged": [["a", "b", "c", "d"]]}, "several templates"),
        (6, {}, "class 'a very long name of things' has 13 tokens, but the maximum is 12"),
    ],
)
def test_prompts_that_do_not_fit_are_refused(clip_model, n_ctx, more, said):
    assert prompts(clip_model, 5, "X X X X X").words.shape[1] == 7  # the longest just fits
    with pytest.raises(UserError, match=said):
        prompts(clip_model, n_ctx, " ".join("X" * n_ctx), **more)
    with pytest.raises(UserError, match="PLACE_TEXT before_start"):
        text_encoder(clip_model, Schedule([(0, 1), (1, 1), (0, 0)], "text", BEFORE_START))


def test_some_of_the_prompts_are_what_they_are_among_all_and_long_ones_are_cut(clip_model):
    ctx, encoder = torch.randn(2, text_width(clip_model)), text_encoder(clip_model, CARRIED)
    text, nothing = prompts(clip_model, 2, "a photo of a"), [None] * LAYERS
    every = encoder(text(ctx), nothing)
    torch.testing.assert_close(encoder(text(ctx, [3, 1]), nothing), every[:, [3, 1]], atol=1e-6, rtol=1e-5)
    cut = prompts(clip_model, 0, "a photo " * LENGTH, cut=True)(ctx[:0])
    assert cut.words.shape[1] == LENGTH
    with pytest.raises(UserError, match=f"but the maximum is {LENGTH}"):
        prompts(clip_model, 0, "a photo " * LENGTH)
