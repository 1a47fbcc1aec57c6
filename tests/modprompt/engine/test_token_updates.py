"""Tokens that are mixed with those that they replace, on both sides: against whole sequences, one after the other."""

import pytest
import torch

from modprompt.engine.encoders import TextEncoder, VisionEncoder
from modprompt.engine.prompts import PromptText, class_texts
from modprompt.engine.schedule import BEHIND_LN_PRE, BEHIND_POSITIONS, Schedule
from modprompt.engine.token_updates import Mixed, OfClasses
from tests.conftest import LAYOUTS, lay_out_for, random_clip
from tests.test_exactness import own_forward

NAMES = ["cat", "a very long name of a thing", "x", "dog"]
MIXED, OWN = "mixed", "of classes"
TEXTS = {  # four layers: (remove, add, kind)
    "from the first layer on": [(0, 2, ""), (2, 2, MIXED), (0, 0, ""), (2, 2, MIXED)],
    "some": [(0, 3, ""), (2, 2, MIXED), (1, 1, MIXED), (0, 0, "")],
    "with tokens of classes": [(0, 2, ""), (0, 2, OWN), (1, 1, MIXED), (3, 3, MIXED)],
    "later": [(0, 0, ""), (0, 2, ""), (2, 2, MIXED), (2, 2, MIXED)],
}


def mixed(old, new, weight):
    return weight * new + (1 - weight) * old


def drawn(steps, width, weight):
    """What each layer is given."""
    shapes = [(len(NAMES), add, width) if kind == OWN else (add, width) for _, add, kind in steps]
    tokens = [torch.randn(shape, requires_grad=True) for shape in shapes]
    kinds = {MIXED: lambda one: Mixed(one, weight), OWN: OfClasses, "": lambda one: one}
    return tokens, [kinds[kind](one) if one.shape[-2] else None for one, (*_, kind) in zip(tokens, steps)]


def plain_texts(clip_model, texts, steps, tokens, weight, positions_first):
    """(C, E) of prompts that begin with the start token; layer 0's tokens take the place of words, or come beside them."""
    from clip import clip

    features = []
    for number, text in enumerate(texts):
        ids = clip.tokenize(text).long()[0]
        words = clip_model.token_embedding(ids[: int(ids.argmax()) + 1])
        add = steps[0][1]
        if not positions_first:
            words = torch.cat([words[:1], tokens[0], words[1 + add :]])
        x, present = words + clip_model.positional_embedding[: len(words)], 0 if positions_first else add
        for layer, (block, (remove, add, kind)) in enumerate(zip(clip_model.transformer.resblocks, steps)):
            if layer or positions_first:
                new = tokens[layer][number] if kind == OWN else tokens[layer]
                kept, gone = x[: 1 + present - remove], x[1 + present - remove : 1 + present]
                x = torch.cat([kept, mixed(gone, new, weight) if kind == MIXED else new, x[1 + present :]])
                present += add - remove
            x = own_forward(block, x[None], torch.full((len(x),) * 2, float("-inf")).triu(1))[0]
        features.append(clip_model.ln_final(x[-1]) @ clip_model.text_projection)
    return torch.stack(features)


def require_equal(mine, theirs, tokens):
    torch.testing.assert_close(mine, theirs, atol=1e-4, rtol=1e-4)
    learned, weights = [one for one in tokens if one.numel()], torch.randn(mine.shape)
    found = [torch.autograd.grad((one * weights).sum(), learned, allow_unused=True) for one in (mine, theirs)]
    for one, other in zip(*found):
        torch.testing.assert_close(one, other, atol=1e-3, rtol=1e-4)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(("most_tokens", "place"), [(None, ""), (4, BEHIND_POSITIONS)])
@pytest.mark.parametrize("kind", TEXTS)
def test_text(kind, most_tokens, place, layout, monkeypatch):
    lay_out_for(monkeypatch, layout)
    clip_model, steps = random_clip(0, text_layers=4).requires_grad_(False), TEXTS[kind]
    tokens, additions = drawn(steps, 64, 0.3)
    among = steps[0][1] if not place else 0
    text = PromptText(class_texts(NAMES, " ".join(["X"] * among + ["a photo of a"])), NAMES, among, clip_model)
    schedule = Schedule([step[:2] for step in steps], "text", place)
    encoder = TextEncoder(clip_model, schedule, most_tokens=most_tokens)
    (mine,) = encoder(text(tokens[0][:among]), additions)
    require_equal(mine, plain_texts(clip_model, text.texts, steps, tokens, 0.3, bool(place)), tokens)


@pytest.mark.parametrize("weight", [0.0, 0.2, 1.0])
def test_images_each_mix_their_own(weight):
    clip_model = random_clip(0).requires_grad_(False)
    steps = [(0, 3, ""), (3, 3, MIXED), (1, 1, MIXED)]
    tokens, additions = drawn(steps, 128, weight)
    images, visual = torch.randn(2, 3, 32, 32), clip_model.visual
    schedule = Schedule([step[:2] for step in steps], "vision", BEHIND_LN_PRE)
    mine = VisionEncoder(visual, schedule)(images, additions)
    x = visual.conv1(images).flatten(2).permute(0, 2, 1)
    x = torch.cat([visual.class_embedding.expand(len(x), 1, -1), x], dim=1) + visual.positional_embedding
    x = visual.ln_pre(x)
    for block, (remove, _, kind), new in zip(visual.transformer.resblocks, steps, tokens):
        kept, gone = x.split([x.shape[1] - remove, remove], dim=1)
        own = mixed(gone, new, weight) if kind == MIXED else new.expand(len(x), -1, -1)
        x = own_forward(block, torch.cat([kept, own], dim=1), None)
    require_equal(mine, visual.ln_post(x[:, 0]) @ visual.proj, tokens)
    if weight == 1:
        plain = [one.tokens if isinstance(one, Mixed) else one for one in additions]
        torch.testing.assert_close(mine, VisionEncoder(visual, schedule)(images, plain))
