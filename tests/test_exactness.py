"""The fast paths against whole sequences through CLIP's own blocks: random schedules, prompts, names and batches."""

import functools
import random

import pytest
import torch
import torch.nn.functional as F

from modprompt.engine.context import from_words, no_context, random_context
from modprompt.engine.model import PromptedCLIP
from modprompt.engine.prompts import Prompts
from modprompt.engine.schedule import Schedule, Schedules
from modprompt.engine.token_updates import OfClasses
from modprompt.io.descriptions import Descriptions
from modprompt.methods.cocoop import ConditionalPromptLearner
from modprompt.methods.dpl import LengthsPromptLearner
from modprompt.methods.parts.learners import CoupledPromptLearner, IndependentPromptLearner
from modprompt.methods.parts.text import Described
from tests.conftest import LAYOUTS, lay_out_for, random_clip

WORDS = ["cat", "annual", "crop", "photorealistic", "x", "golden", "retriever", "sea", "lake"]


def random_schedule(rng, layers, first, side, place=""):
    """Steps that never remove more than there is."""
    steps, present = [(0, first)], first
    for _ in range(layers - 1):
        remove = rng.randint(0, present)
        add = rng.choice((0, 0, 1, 2, 3))
        steps.append((remove, add))
        present += add - remove
    return Schedule(steps, side, place)


def own_forward(block, x, mask):
    """A stock block's own forward on (B, L, D)."""
    block.attn_mask = mask
    return block(x.permute(1, 0, 2)).permute(1, 0, 2)


def plain_text(clip_model, learner, sentences, additions):
    """(C, E), not normalised, of whole sentences [(L, T)] of one image; each alone, every token in every layer."""
    features = []
    schedule = learner.schedules.text
    start = int(schedule.place == "behind_start")
    for x in sentences:
        number = len(features)
        x = x[None] + clip_model.positional_embedding[: len(x)]
        present = start * schedule[0].add
        for layer, (block, step) in enumerate(zip(clip_model.transformer.resblocks, schedule)):
            if layer or not start:
                new = additions[layer].tokens[number] if isinstance(additions[layer], OfClasses) else additions[layer]
                new = x[:, :0] if new is None else new[None]
                x = torch.cat([x[:, : start + present - step.remove], new, x[:, start + present :]], dim=1)
                present += step.add - step.remove
            x = own_forward(block, x, torch.full((x.shape[1],) * 2, float("-inf")).triu(1))
        features.append(clip_model.ln_final(x[0, -1]) @ clip_model.text_projection)
    return torch.stack(features)


def plain_image(clip_model, learner, images, additions):
    """(B, E), every token in every layer."""
    visual = clip_model.visual
    x = visual.conv1(images).flatten(2).permute(0, 2, 1)
    x = torch.cat([visual.class_embedding.expand(len(x), 1, -1), x], dim=1) + visual.positional_embedding
    schedule = learner.schedules.vision
    before = schedule.place == "before_ln_pre"
    x = x if before else visual.ln_pre(x)
    for layer, (block, step) in enumerate(zip(visual.transformer.resblocks, schedule)):
        new = x[:, :0] if additions[layer] is None else additions[layer].expand(len(x), -1, -1)
        x = torch.cat([x[:, : x.shape[1] - step.remove], new], dim=1)
        x = own_forward(block, visual.ln_pre(x) if before and layer == 0 else x, None)
    return F.normalize(visual.ln_post(x[:, 0]) @ visual.proj, dim=-1)


def plain_words(clip_model, learner, name):
    """The embedded words of a class's prompt, from the start to the end token."""
    from clip import clip

    ids = clip.tokenize(f"{learner.prefix} {name}{learner.ending}".strip()).long()[0]
    end = int(ids.argmax()) + 1
    each = [clip.tokenize(template.replace("{}", name)).long()[0] for template in learner.averaged] or [ids]
    return torch.stack([clip_model.token_embedding(one[:end]) for one in each]).mean(0)


def plain_sentences(clip_model, learner, names, ctx, position):
    """Embedded sentences of one image, from the words; ctx (n, T) or (C, n, T)."""
    from clip import clip

    rows = []
    for number, name in enumerate(names):
        own = ctx[number] if ctx.dim() == 3 else ctx
        words = plain_words(clip_model, learner, name)
        length = int(clip.tokenize(name)[0].argmax()) - 1
        before = int(clip.tokenize(learner.prefix)[0].argmax()) - 1  # tokens in front of the name
        n = len(own)
        ahead = {"end": n, "middle": n // 2, "front": 0}[position]
        left = words[1 + n : 1 + before]  # of the words that the context did not replace
        name_tokens, rest = words[1 + before :][:length], words[1 + before + length :]
        pieces = [own, left, name_tokens] if position == "end" else [own[:ahead], name_tokens, own[ahead:], left]
        rows.append(torch.cat([words[:1], *pieces, rest]))
    return rows


def plain_texts(clip_model, learner, names, contexts, position):
    """(C, E) with each of the contexts (n, T) or (C, n, T): those of images, or one."""
    schedule = learner.schedules.text
    if isinstance(learner, CoupledPromptLearner):
        additions = learner.text_additions()
    else:
        additions = (
            learner.deep() if isinstance(learner, OfClassesLearner) else per_layer(learner.text_prompts, schedule)
        )
    if isinstance(learner, LengthsPromptLearner):
        contexts = [learner.ctx if additions[0] is None else additions[0]]
    behind = schedule.place == "behind_start"
    labels, pool = names, lambda raw: F.normalize(raw, dim=-1)
    if learner.described is not None:
        phrases, of = learner.described.content.phrases, learner.described.pooled
        labels = [f"{name}, which is/has {phrase}" for name in names for phrase in phrases[name]]
        pool = functools.partial(plain_pooled, counts=[len(phrases[name]) for name in names], of=of)
    texts = []
    for ctx in contexts:
        first = ctx if schedule[0].add else ctx[:0]
        if not behind:
            additions[0] = first
        sentences = plain_sentences(clip_model, learner, labels, first if behind else first[:0], position)
        texts.append(pool(plain_text(clip_model, learner, sentences, additions)))
    return texts


def per_layer(prompts, schedule):
    return [dict(prompts.items()).get(str(layer)) for layer in range(len(schedule))]


class OfClassesLearner(IndependentPromptLearner):
    """What some deeper text layers add are tokens of single classes."""

    def __init__(self, classnames, clip_model, schedules, context, chosen):
        super().__init__(classnames, clip_model, schedules, context)
        for layer in chosen:
            shared = self.text_prompts[str(layer)]
            self.text_prompts[str(layer)] = torch.nn.Parameter(torch.randn(len(classnames), *shared.shape))

    def deep(self):
        found = per_layer(self.text_prompts, self.schedules.text)
        return [OfClasses(new) if new is not None and new.dim() == 3 else new for new in found]

    def forward(self):
        return Prompts(*self.with_first(self.ctx, self.deep()), per_layer(self.vision_prompts, self.schedules.vision))


def plain_pooled(raw, counts, of):
    """(C, E) of prompts (P, E), those of a class one behind another: the mean of unit vectors, or the mean made one."""
    rows = []
    for own in raw.split(counts):
        rows.append(F.normalize(own, dim=-1).mean(0) if of == "logits" else F.normalize(own.mean(0), dim=0))
    return torch.stack(rows)


KINDS = ["independent", "classes", "coupled", "conditional", "own", "own_deep", "middle", "front", "fixed"]
PLACED = ["independent", "classes", "coupled", "conditional", "none_first", "coupled_none_first", "lengths"]
PLACES = [("before_start", "before_ln_pre"), ("before_start", "behind_ln_pre"), ("", "")]
POOLED = ["logits", "embeddings"]


def described_by(rng, names, of):
    """One to four phrases of each class, and another class that nobody asks for."""
    words = [*names, "moon"]
    phrases = {name: tuple(rng.choice(WORDS) + " sea" * n for n in range(rng.randint(1, 4))) for name in words}
    return Described(Descriptions(phrases, "here"), of)


def build(kind, rng, clip_model, names, layers, places=("", ""), described=None):
    """A learner of a kind with a random schedule, and where its class names stand."""
    text_layers, vision_layers = layers
    n_ctx = 0 if kind == "fixed" else rng.randint(1, 4)
    deep = kind not in ("middle", "front", "own", "fixed")
    none_first = kind.endswith("none_first")
    carried = Schedule([(0, n_ctx)] + [(0, 0)] * (text_layers - 1), "text")
    text = random_schedule(rng, text_layers, 0 if none_first else n_ctx, "text", places[0]) if deep else carried
    first = (
        rng.choice((0, n_ctx)) if kind == "coupled_none_first" else n_ctx if kind == "coupled" else rng.randint(0, 3)
    )
    schedules = Schedules(text, random_schedule(rng, vision_layers, first, "vision", places[1]))
    position = kind if kind in ("middle", "front") else "end"
    if kind == "fixed":
        context = no_context("a photo of a", clip_model)
    elif kind.startswith("own"):
        context = random_context(n_ctx, clip_model, sum(described.prompts(names)[1]) if described else len(names))
    else:
        context = from_words("a photo of a", n_ctx, clip_model)
    if kind.startswith("coupled"):
        return CoupledPromptLearner(names, clip_model, schedules, context), position
    if kind == "classes":
        context = context._replace(ending=rng.choice((".", ", a type of sea.", " texture")))
        words = context._replace(prefix=context.prefix + " golden sea of") if rng.random() < 0.5 else context
        adds = [layer for layer, step in enumerate(text) if layer and step.add]
        chosen = [one for one in adds if rng.random() < 0.7]
        return OfClassesLearner(names, clip_model, schedules, words, chosen), position
    if kind == "lengths":
        averaged = ["a bad picture of the {}.", "{} in the sea.", "itap of the {}."] if rng.random() < 0.5 else ()
        return LengthsPromptLearner(names, clip_model, schedules, "itap of the", averaged), position
    if kind == "conditional":
        nothing = Schedule([(0, 0)] * vision_layers, "vision", places[1])
        schedules = Schedules(schedules.text, nothing)
        return ConditionalPromptLearner(names, clip_model, schedules, context, described=described), position
    return IndependentPromptLearner(names, clip_model, schedules, context, position, described), position


def compare(kind, seed, most_tokens, places, of):
    rng = random.Random(seed)
    layers = rng.randint(1, 5), rng.randint(1, 5)
    clip_model = random_clip(seed, text_layers=layers[0], vision_layers=layers[1], text_width=128)
    names = [" ".join(rng.choices(WORDS, k=rng.randint(1, 5))) for _ in range(rng.choice((1, 2, 5, 17)))]
    described = described_by(rng, names, of) if of else None
    learner, position = build(kind, rng, clip_model, names, layers, places, described)
    with torch.no_grad():
        for parameter in learner.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape))
    model = PromptedCLIP(learner, clip_model)
    model.text_encoder.most_tokens = most_tokens
    images = torch.randn(rng.randint(1, 3), 3, 32, 32)
    labels = torch.tensor([rng.randrange(len(names)) for _ in images])

    ours = model(images)
    if kind == "conditional":
        features = plain_image(clip_model, learner, images, [None] * layers[1])
        shifts = learner.meta_net(features)
        contexts = [learner.ctx + shift for shift in shifts]
    else:
        prompts = learner()
        features = plain_image(clip_model, learner, images, prompts.vision_additions)
        contexts = [learner.ctx]
    texts = plain_texts(clip_model, learner, names, contexts, position)
    if kind == "conditional":
        plain = torch.stack([clip_model.logit_scale.exp() * text @ image for text, image in zip(texts, features)])
    else:
        plain = clip_model.logit_scale.exp() * features @ texts[0].t()
    assert (ours - plain).abs().max() <= 1e-5 * plain.abs().max().clamp(min=1)  # a cosine of 0.07

    parameters = [p for p in learner.parameters() if p.requires_grad]
    if not parameters:
        return
    mine = torch.autograd.grad(F.cross_entropy(ours, labels), parameters, allow_unused=True)
    theirs = torch.autograd.grad(F.cross_entropy(plain, labels), parameters, allow_unused=True)
    largest = max(g.abs().max() for g in theirs if g is not None)
    for one, two in zip(mine, theirs):
        one, two = (torch.zeros(1) if g is None else g for g in (one, two))
        assert (one - two).abs().max() <= 1e-5 * max(largest, 1e-3)


def cases():
    """(kind, seed, most tokens of a chunk, places of prompts, in what several prompts of a class are pooled)."""
    for kind in KINDS:
        yield from ((kind, seed, None, PLACES[-1], None) for seed in range(6))
    for kind in ("independent", "classes", "conditional", "own_deep", "middle"):
        yield from ((kind, seed, 12, PLACES[-1], None) for seed in (10, 11, 12))
    for kind in PLACED:
        yield from ((kind, seed, most, places, None) for seed, most in ((20, None), (21, 12)) for places in PLACES)
    for kind in ("independent", "conditional", "own_deep", "middle"):  # of some in chunks that cut classes apart
        late = kind in ("middle", "conditional")
        yield from ((kind, 30, 12 if (of == "logits") == late else None, PLACES[-1], of) for of in POOLED)


QUICK = [
    (kind, *rest)
    for kind in ("independent", "coupled", "conditional")
    for rest in ((0, None, PLACES[-1], None), (21, 12, PLACES[0], None))
]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(
    ("kind", "seed", "most_tokens", "places", "of"),
    [*QUICK, *(pytest.param(*case, marks=pytest.mark.slow) for case in cases() if case not in QUICK)],
)
def test_fast_path_equals_whole_sequences(kind, seed, most_tokens, places, of, layout, monkeypatch):
    lay_out_for(monkeypatch, layout)
    compare(kind, seed, most_tokens, places, of)
