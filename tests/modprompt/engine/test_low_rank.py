"""Low-rank additions to attention's matrices: against plain layers, with masks and without, and in the matrices."""

import pytest
import torch
from torch.nn.functional import normalize

from modprompt.engine import encoders, text_layers
from modprompt.engine.encoders import TextEncoder, VisionEncoder
from modprompt.engine.low_rank import LowRank
from modprompt.engine.prompts import PromptText, class_texts
from modprompt.engine.schedule import Schedule
from modprompt.errors import UserError
from tests.conftest import LAYOUTS, lay_out_for
from tests.plain_lora import PlainLowRank
from tests.plain_neighbours import image_features, text_features

NAMES = ["cat", "a very long name of a thing", "x_y", "dog"]
MATRICES, RANK = ("v", "q", "o"), 2


def factors(width, layers=3, seed=1):
    """A and B of each layer's matrices; the first has none."""
    torch.manual_seed(seed)
    made = [(torch.randn(3, RANK, width) / 8, torch.randn(3, width, RANK) / 8) for _ in range(layers - 1)]
    return [None, *[tuple(one.requires_grad_(True) for one in both) for both in made]]


def ours(of, **more):
    return [None if both is None else LowRank(MATRICES, *both, 0.7, **more) for both in of]


def plain(of, **more):
    return [None if both is None else PlainLowRank(dict(zip(MATRICES, zip(*both))), 0.7, **more) for both in of]


def text_of(clip_model, names=NAMES):
    from clip import clip

    text = PromptText(class_texts(names, "a photo of a"), names, 0, clip_model)
    return text, clip.tokenize(text.texts).long()


def encoded(clip_model, changes, layers=3, most_tokens=None, names=NAMES):
    text, _ = text_of(clip_model, names)
    encoder = TextEncoder(clip_model, Schedule([(0, 0)] * layers, "text"), most_tokens=most_tokens)
    return encoder(text(torch.empty(0, 64)), [None] * layers, changes)[0]


def assert_alike(found, wanted, of):
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-4)
    learned = [one for both in of if both is not None for one in both]
    for one, other in zip(*(torch.autograd.grad(features.sin().sum(), learned) for features in (found, wanted))):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-3)


@pytest.fixture
def clip(clip_model):
    return clip_model.requires_grad_(False)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(("most_tokens", "how"), [(None, {}), (1, {"rate": 0.25}), (20, {"through": False})])
def test_text_side_is_that_of_plain_layers(clip, monkeypatch, layout, most_tokens, how):
    """Each class has masks of its own, drawn for all 77 tokens, however many are run and at a time."""
    lay_out_for(monkeypatch, layout)
    of, (_, ids) = factors(64), text_of(clip)
    torch.manual_seed(3)
    found = encoded(clip, ours(of, **how), most_tokens=most_tokens)
    after = torch.rand(4)
    torch.manual_seed(3)
    wanted = text_features(clip, ids, clip.token_embedding(ids), {}, 0, unit=False, changes=plain(of, **how))
    # masks are drawn in front of the run, by matrix in the order q, k, v, o
    assert torch.equal(torch.rand(4), after)
    assert_alike(found, wanted, of)


@pytest.mark.parametrize("how", [{}, {"rate": 0.25}, {"through": False}], ids=str)
def test_vision_side_is_that_of_plain_layers(clip, how):
    images, of = torch.randn(2, 3, 32, 32), factors(128)
    torch.manual_seed(3)
    encoder = VisionEncoder(clip.visual, Schedule([(0, 0)] * 3))
    found = normalize(encoder(images, [None] * 3, ours(of, **how)), dim=-1)
    after = torch.rand(4)
    torch.manual_seed(3)
    assert_alike(found, image_features(clip, images, {}, plain(of, **how)), of)
    assert torch.equal(torch.rand(4), after)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_shared_mask_leaves_the_beginning_shared(clip, monkeypatch, layout):
    """Two classes of one name differ where each has masks of its own, and in their own tokens alone where not."""
    lay_out_for(monkeypatch, layout)
    of, prefixes, packed = factors(64), [], text_layers.run_packed

    def watched(block, x, *more):
        prefixes.append(x.prefix)
        return packed(block, x, *more)

    monkeypatch.setattr(encoders, "run_packed", watched)
    changes = ours(of, rate=0.25, shared=True)
    torch.manual_seed(3)
    first = encoded(clip, changes, names=["cat", "cat"])
    assert (prefixes[0].shape[1] > 1) is (layout != "whole")  # one beginning for both, where it is computed once
    assert not torch.allclose(first[0], first[1])
    torch.manual_seed(3)
    assert torch.equal(first, encoded(clip, changes, names=["cat", "cat"]))
    assert not torch.allclose(first, encoded(clip, changes, names=["cat", "cat"]))


def test_shared_masks_are_refused_where_classes_are_computed_in_parts(clip):
    """Each part would have another beginning, and its backward pass other masks."""
    changes = ours(factors(64), rate=0.25, shared=True)
    with pytest.raises(UserError, match=r"DROPOUT_SHARED uses the same dropout mask .* in \d chunks"):
        encoded(clip, changes, most_tokens=1)
    encoded(clip, ours(factors(64), shared=True), most_tokens=1)  # nothing is drawn in tests


def test_merged_matrices_give_what_the_additions_give(clip):
    of, images = factors(128), torch.randn(2, 3, 32, 32)
    encoder = VisionEncoder(clip.visual, Schedule([(0, 0)] * 3))
    changes = ours(of, merges=True)
    with torch.no_grad():
        beside, merged = (encoder(images, [None] * 3, ours(of, merges=merges)) for merges in (False, True))
        torch.testing.assert_close(merged, beside, atol=1e-5, rtol=1e-5)
        weights = clip.visual.transformer.resblocks[1].attn.in_proj_weight.clone()
        block = changes[1].merged(clip.visual.transformer.resblocks[1])
        assert changes[1].merged(clip.visual.transformer.resblocks[1]) is block
        assert torch.equal(clip.visual.transformer.resblocks[1].attn.in_proj_weight, weights)
        assert torch.equal(block.attn.in_proj_weight[128:256], weights[128:256])  # no addition to k
        added = block.attn.in_proj_weight[:128] - weights[:128]
        a, b = of[1]
        torch.testing.assert_close(added, 0.7 * b[1] @ a[1], atol=1e-6, rtol=1e-5)
