import pytest
import torch

from modprompt.clip.tokenizers import ClipTokenizer
from modprompt.errors import UserError
from modprompt.use.nearest_words import count_mapped, count_vision_prompts, nearest_words, text_prompts, vocabulary


def test_layers_of_every_kind_of_checkpoint():
    ctx, deep = torch.ones(2, 4), torch.ones(1, 4)
    names = {
        "ctx": ctx,
        "compound_prompts_text.0": deep,
        "txt2img_proj.0.0.weight": torch.ones(8, 4),
    }
    assert list(text_prompts(names)) == [0, 1]
    inside = {"ctx": ctx, "image_encoder.VPT": torch.ones(3, 8)}
    inside["text_encoder.transformer.resblocks.10.VPT_shallow"] = deep
    inside["text_encoder.transformer.resblocks.2.VPT_shallow"] = deep
    inside["image_encoder.transformer.resblocks.1.VPT_shallow"] = torch.ones(3, 8)
    assert list(text_prompts(inside)) == [0, 2, 10]
    assert count_vision_prompts(inside) == 6


def test_of_prompts_that_flow_those_that_the_encoder_gets_are_words():
    flowing = {"ctx": torch.ones(2, 4), **{f"cross_prompts_text.{at}": torch.ones(2, 4) for at in (1, 2, 10)}}
    flowing.update({f"text_proxy_token.{at}": torch.ones(1, 4) for at in (0, 1)})
    flowing.update({f"cross_prompts_visual.{at}": torch.ones(2, 8) for at in range(4)})
    assert list(text_prompts(flowing)) == [0, 1]
    assert count_mapped(flowing) == 2
    assert count_vision_prompts(flowing) == 8


def test_words_come_nearest_first_and_rows_of_zeros_are_none(clip_model):
    from clip import clip

    cat, dog = (int(clip.tokenize(word)[0, 1]) for word in ("cat", "dog"))
    table = torch.zeros(49408, 3)
    table[cat], table[dog] = torch.tensor([1.0, 0, 0]), torch.tensor([0, 2.0, 0])
    texts, embeddings = vocabulary(table, ClipTokenizer())
    assert sorted(texts) == ["cat", "dog"]
    ((first, second),) = nearest_words(torch.tensor([[1.0, 0.5, 0]]), texts, embeddings, 5)
    assert (first.text, second.text) == ("cat", "dog")
    assert first.distance == pytest.approx(0.5)
    assert second.distance == pytest.approx(3.25**0.5)


def test_other_width_is_refused():
    with pytest.raises(UserError, match="the checkpoint's text width is 512, that of this CLIP is 64"):
        nearest_words(torch.zeros(1, 512), ["cat"], torch.zeros(1, 64), 1)


def test_bytes_of_the_vocabulary_are_letters():
    from clip import clip

    heart = int(clip.tokenize("❤")[0, 1])
    table = torch.zeros(49408, 1)
    table[heart] = 1
    (text,), _ = vocabulary(table, ClipTokenizer())
    assert "â" not in text


@pytest.mark.parametrize(
    "state", [{"ctx": torch.zeros(4)}, {"ctx": 3}, {"compound_prompts_text.0": torch.zeros(1, 2, 3, 4)}]
)
def test_what_is_no_prompt_is_named(state):
    with pytest.raises(UserError, match="is not a learned prompt"):
        text_prompts(state)


def test_other_names_are_not_read():
    assert text_prompts({"compound_prompts_text.x": torch.zeros(1, 4), "ctx_other": torch.zeros(1, 4)}) == {}
