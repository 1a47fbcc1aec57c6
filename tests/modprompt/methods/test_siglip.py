"""Methods on SigLIPs against the same written slowly, over the blocks of the package that made them."""

import pytest
import torch
import torch.nn.functional as F

from modprompt import VPT, CoOp, KgCoOp, UserError, ZeroshotCLIP
from modprompt.clip.towers import Tower
from modprompt.methods.mpl import MPL
from tests import plain_teachers, siglips

NAMES = ["cat", "golden retriever", "sea or lake"]
PHOTO = "a photo of a"
DEPTH = 3


def images(count=4):
    return torch.randn(count, 3, siglips.PIXELS, siglips.PIXELS, generator=torch.Generator().manual_seed(1))


def classes_of(found, clip_model, words, ctx=None, deep=()):
    """Unit class features (C, E), one class after the other: context, words, name; `deep` takes the first places."""
    rows = []
    for number, name in enumerate(NAMES):
        ids = torch.tensor(clip_model.tokenizer.row(f"{words} {name}.".strip()))
        own = found.table[:0] if ctx is None else ctx[number] if ctx.dim() == 3 else ctx
        x = torch.cat([own, found.table[ids]])[None, : siglips.LENGTH]

        def put(layer, x):
            return torch.cat([deep[layer - 1][None], x[:, len(deep[layer - 1]) :]], 1) if 0 < layer <= len(deep) else x

        rows.append(F.normalize(siglips.run_text(found, x, put, [0])[0], dim=0))
    return torch.stack(rows)


def logits_of(found, clip_model, classes, steps=None, new=None):
    """Logits (B, C), with prompts on the image side if there are steps."""
    features = found.encode_image(images()) if steps is None else siglips.run_image(found, images(), steps, new)
    return clip_model.logit_scale.exp() * F.normalize(features, dim=-1) @ classes.T


def frozen(found, clip_model):
    with torch.no_grad():
        return classes_of(found, clip_model, PHOTO)


def kgcoop(found, clip_model, learner, labels):
    classes = classes_of(found, clip_model, "", learner.ctx)
    loss = F.cross_entropy(logits_of(found, clip_model, classes), labels)
    return loss + 8 * plain_teachers.distance(classes, frozen(found, clip_model))


def vpt(found, clip_model, learner, labels):
    new = [learner.vision_prompts[str(layer)] for layer in range(2)] + [None] * 2
    logits = logits_of(found, clip_model, frozen(found, clip_model), [(0, 3), (3, 3), (0, 0), (0, 0)], new)
    return F.cross_entropy(logits, labels)


def mpl(found, clip_model, learner, labels):
    deep = [learner.compound_prompts_text[str(layer)] for layer in range(DEPTH - 1)]
    classes = classes_of(found, clip_model, PHOTO, learner.ctx, deep)
    new = [F.linear(learner.ctx, learner.proj.weight, learner.proj.bias)]
    for layer, source in enumerate(deep):
        maps = [proj[str(layer)] for proj in learner.txt2img_proj]
        new.append(torch.cat([F.linear(source, one.weight, one.bias) for one in maps]))
    steps = [(0, 2), (1, 4), (1, 4), (0, 0)]
    return F.cross_entropy(logits_of(found, clip_model, classes, steps, [*new, None]), labels)


METHODS = {
    "KgCoOp of single classes": (KgCoOp(n_ctx=3, kg_weight=8, csc=True), kgcoop),
    "VPT": (VPT(n_ctx_vision=3, prompt_depth_vision=2), vpt),
    "MPL": (MPL(n_ctx=2, prompt_depth=DEPTH, n_add_op=2, n_rm_op=1), mpl),
}


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("kind", siglips.KINDS)
def test_a_step_is_that_of_the_method_over_the_packages_blocks(kind, name):
    method, plain = METHODS[name]
    found, labels = siglips.made(kind), torch.tensor([0, 1, 2, 0])
    clip_model = siglips.clip_of(found)
    model = method.on(clip_model, NAMES).train()
    learned = dict(model.prompt_learner.named_parameters())
    with torch.no_grad():
        for one in learned.values():
            one.add_(0.3 * torch.randn(one.shape))
    loss = model.loss(images(), labels)
    loss.backward()
    theirs = plain(found, clip_model, model.prompt_learner, labels)
    torch.testing.assert_close(loss, theirs, atol=1e-5, rtol=1e-5)
    gradients = torch.autograd.grad(theirs, list(learned.values()))
    for one, two in zip(learned.values(), gradients):
        assert (one.grad - two).abs().max() <= 1e-4 * two.abs().max()


@pytest.mark.parametrize("kind", siglips.KINDS)
def test_zero_shot_has_the_packages_features(kind):
    found = siglips.made(kind)
    clip_model = siglips.clip_of(found)
    ids = torch.tensor([clip_model.tokenizer.row(f"{PHOTO} {name}.") for name in NAMES])
    classes = F.normalize(found.encode_text(ids), dim=-1)
    model = ZeroshotCLIP().on(clip_model, NAMES).eval()
    torch.testing.assert_close(model(images()), logits_of(found, clip_model, classes), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", ["open_clip", "open_clip causal"])
def test_products_may_run_in_less_than_float32_and_weights_stay(kind, monkeypatch):
    clip_model, labels = siglips.clip_of(siglips.made(kind)), torch.tensor([0, 1, 2, 0])
    model = MPL(n_ctx=2, prompt_depth=DEPTH).on(clip_model, NAMES)
    exact = model.loss(images(), labels)
    monkeypatch.setattr(Tower, "autocast", lambda *_: torch.autocast("cpu", dtype=torch.bfloat16))  # as on a GPU
    model.cast("bf16")
    loss = model.loss(images(), labels)
    loss.backward()
    assert 0 < (loss - exact).abs() < 0.05
    assert all(one.grad.dtype == torch.float32 for one in model.prompt_learner.parameters())
    assert {one.dtype for one in clip_model.parameters()} == {torch.float32}


def test_a_text_schedule_that_moves_words_is_refused():
    clip_model = siglips.clip_of(siglips.made("open_clip"))
    with pytest.raises(UserError, match="remove as many tokens as you add"):
        CoOp(n_ctx=2, schedule_text=((0, 2), (0, 1))).on(clip_model, NAMES)
    with pytest.raises(UserError, match="but the maximum is 12"):
        CoOp(n_ctx=10).on(clip_model, NAMES)
