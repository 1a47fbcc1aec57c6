import pytest
import torch

from modprompt.engine.context import from_words, placeholders, words_or_random
from modprompt.errors import UserError


def embedded(clip_model, words):
    from clip import clip

    return clip_model.token_embedding(clip.tokenize(words).long())[0].detach()


def test_words_start_from_their_own_embeddings(clip_model):
    context = from_words("a_photo_of_a", 3, clip_model)
    assert context.prefix == "a photo of a"
    assert torch.equal(context.vectors, embedded(clip_model, "a photo of a")[1:4])


def test_number_of_tokens_counts_not_that_of_words(clip_model):
    """One word may be several tokens; the context may be as long as they are, not longer."""
    assert from_words("photorealisticish", 2, clip_model).n_ctx == 2
    with pytest.raises(UserError, match="N_CTX must be at most 4, the number of tokens of CTX_INIT 'a photo of a'"):
        from_words("a photo of a", 5, clip_model)


def test_long_contexts_start_at_random_and_unused_words_are_warned_of(clip_model):
    with pytest.warns(UserWarning, match="CTX_INIT is ignored .* because N_CTX_TEXT is 6"):
        context = words_or_random("a photo of a", 6, clip_model, "N_CTX_TEXT")
    assert context.prefix == "X X X X X X"
    assert context.vectors.shape == (6, 64)


def test_placeholders_stand_in_front_of_the_words(clip_model):
    context = placeholders("a photo of a", 2, clip_model)
    assert context.prefix == "X X a photo of a"
    assert torch.equal(context.vectors, embedded(clip_model, "X X")[1:3])


@pytest.mark.parametrize("make", [from_words, placeholders, words_or_random])
def test_context_of_no_tokens_is_refused(clip_model, make):
    with pytest.raises(UserError, match="N_CTX must be at least 1, got 0"):
        make("a photo of a", 0, clip_model)
