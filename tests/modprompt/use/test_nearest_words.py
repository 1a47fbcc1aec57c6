import pytest
import torch
from clip import clip

from modprompt.use.nearest_words import count_mapped, count_vision_prompts, nearest_words, text_prompts, vocabulary


def test_layers_of_every_kind_of_checkpoint():
    ctx, deep, vision = torch.ones(2, 4), torch.ones(1, 4), torch.ones(3, 8)
    names = {"ctx": ctx, "compound_prompts_text.0": deep, "txt2img_proj.0.0.weight": torch.ones(8, 4)}
    assert list(text_prompts(names)) == [0, 1]
    inside = {"ctx": ctx, "image_encoder.VPT": vision}
    inside |= {f"text_encoder.transformer.resblocks.{layer}.VPT_shallow": deep for layer in (10, 2)}
    inside["image_encoder.transformer.resblocks.1.VPT_shallow"] = vision
    assert list(text_prompts(inside)) == [0, 2, 10]
    assert count_vision_prompts(inside) == 6
    assert text_prompts({"compound_prompts_text.x": deep, "ctx_other": deep}) == {}
    flowing = {"ctx": ctx, **{f"cross_prompts_text.{at}": ctx for at in (1, 2, 10)}}
    flowing |= {f"text_proxy_token.{at}": deep for at in (0, 1)}  # layers whose prompts are mapped: no words
    assert list(text_prompts(flowing)) == [0, 1]
    assert count_mapped(flowing) == 2


def test_words_come_nearest_first_and_rows_of_zeros_are_none(clip_model):
    cat, dog, heart = (int(clip.tokenize(word)[0, 1]) for word in ("cat", "dog", "\u2764"))
    table = torch.zeros_like(clip_model.token_embedding.weight)
    table[cat, 0], table[dog, 1], table[heart, 2] = 1, 2, 9
    clip_model.token_embedding.weight = torch.nn.Parameter(table)
    words, embeddings = vocabulary(clip_model)
    assert sorted(word for word in words if word.isascii()) == ["cat", "dog"]
    assert not [word for word in words if "\u00e2" in word]  # bytes of the vocabulary are letters
    vector = torch.zeros(1, table.shape[1])
    vector[0, :2] = torch.tensor([1.0, 0.5])
    (found,) = nearest_words(vector, words, embeddings, 2)
    assert [word for word, _ in found] == ["cat", "dog"]
    assert [distance for _, distance in found] == pytest.approx([0.5, 3.25**0.5])
