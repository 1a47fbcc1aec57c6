"""Text sides of towers with a causal mask (PE, MetaCLIP 2) against what their package makes of the same tokens."""

import pytest
import torch

from modprompt.clip.towers import kinds_of, prompted_text
from modprompt.engine.class_prompts import class_prompts
from modprompt.engine.encoders import text_encoder
from modprompt.engine.prompts import class_texts
from modprompt.engine.schedule import Schedule
from modprompt.errors import UserError
from tests import siglips
from tests.conftest import LAYOUTS, lay_out_for
from tests.modprompt.engine.test_whole_text import compare, plain_words

NAMES = ["cat", "a very long name of things", "x_y", "dog"]


@pytest.fixture(params=LAYOUTS)
def layout(request, monkeypatch):
    lay_out_for(monkeypatch, request.param)


@pytest.mark.usefixtures("layout")
@pytest.mark.parametrize("most_tokens", [None, 9])
@pytest.mark.parametrize("kind", siglips.CAUSAL_KINDS)
def test_prompts_may_grow_and_shrink(kind, most_tokens):
    """As on a stock text side: nothing behind the end is read."""
    found = siglips.made(kind)
    clip_model, width = siglips.clip_of(found), found.table.shape[1]
    ctx, more, last = (torch.randn(count, width, requires_grad=True) for count in (3, 2, 1))
    text = class_prompts(class_texts(NAMES, "X X X big"), NAMES, 3, clip_model)
    encoder = text_encoder(clip_model, Schedule([(0, 3), (1, 2), (3, 1)], "text"))
    encoder.most_tokens = most_tokens
    (ours,) = encoder(text(ctx), [None, more, last])

    def put(layer, x):
        kept, new = [(4, x[:, 4:4]), (3, more), (2, last)][layer]
        behind = x[:, [4, 4, 5][layer] :]
        return torch.cat([x[:, :kept], new.expand(len(x), -1, -1), behind], dim=1)

    words, ends = plain_words(found, class_texts(NAMES, "big"), ctx)
    moved = [end + 1 - 2 for end in ends]  # 3, then 4, then 2 prompt tokens
    compare(ours, siglips.run_text(found, words, put, moved), [ctx, more, last])


def test_a_placeholder_that_is_two_ids_is_refused(monkeypatch):
    clip_model = siglips.clip_of(siglips.made("open_clip causal"))
    one = siglips.Started.words
    monkeypatch.setattr(siglips.Started, "words", lambda self, text: one(self, text.replace("X", "X X")))
    with pytest.raises(
        UserError,
        match=r"^The tokenizer of this CLIP model splits 3 placeholder words \(X\) into 6 tokens, .* Set CTX_INIT\.$",
    ):
        class_prompts(class_texts(NAMES, "X X X big"), NAMES, 3, clip_model)
    assert class_prompts(class_texts(NAMES, "a photo of"), NAMES, 3, clip_model).ends[0] == 5


@pytest.mark.parametrize(("kind", "end"), [("open_clip causal", 1), ("open_clip causal eos", 5)])
def test_with_another_end_than_features_are_read_at_there_are_no_prompts(kind, end):
    clip_model = siglips.clip_of(siglips.made(kind))
    assert kinds_of(clip_model).text == "prompted"
    clip_model.tokenizer = siglips.Started("7" * 64, end)
    assert prompted_text(clip_model) is None
    assert kinds_of(clip_model).text == "features"
