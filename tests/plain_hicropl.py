"""HiCroPL written down once more, slowly and without the engine: every token, head and class by itself.

Parameters are dicts under the names of the reference's checkpoints, without `prompt_learner.`.
"""

import math

import torch

from tests import plain_neighbours as plain
from tests.plain_mpl import layer_norm
from tests.plain_teachers import CENTERED, distance, entropy_of, teacher

HEADS = 8


class _Layer:
    """A layer norm of a dict, as plain_mpl takes it."""

    eps = 1e-5

    def __init__(self, params, name):
        self.weight, self.bias = params[f"{name}.weight"], params[f"{name}.bias"]


def _attended(params, name, query, key, value):
    """Attention of query tokens (L, W), one token and head after the other."""
    weights = params[f"{name}.in_proj_weight"].chunk(3)
    biases = params[f"{name}.in_proj_bias"].chunk(3)
    q, k, v = (x @ w.T + b for x, w, b in zip((query, key, value), weights, biases))
    rows, size = [], query.shape[1] // HEADS
    for token in q:
        parts = []
        for head in range(HEADS):
            own = slice(head * size, (head + 1) * size)
            shares = torch.stack([(token[own] * one[own]).sum() for one in k]) / math.sqrt(size)
            parts.append(sum(share * one[own] for share, one in zip(shares.softmax(0), v)))
        rows.append(torch.cat(parts))
    return torch.stack(rows) @ params[f"{name}.out_proj.weight"].T + params[f"{name}.out_proj.bias"]


def _pooled(params, name, proxy, prompts):
    first = _Layer(params, f"{name}.ln_1")
    tokens = layer_norm(prompts, first)
    x = proxy + _attended(params, f"{name}.attn", layer_norm(proxy, first), tokens, tokens)
    return layer_norm(x, _Layer(params, f"{name}.ln_2"))


def _mapped(params, name, prompts, pooled):
    def linear(part, x):
        return x @ params[f"{name}.{part}.weight"].T + params[f"{name}.{part}.bias"]

    first = _Layer(params, f"{name}.ln_1")
    x = linear("linear_q", prompts)
    key, value = (layer_norm(linear(part, pooled), first) for part in ("linear_k", "linear_v"))
    x = x + _attended(params, f"{name}.attn", layer_norm(x, first), key, value)
    hidden = linear("ffn.c_fc", layer_norm(x, _Layer(params, f"{name}.ln_2")))
    return x + linear("ffn.c_proj", hidden * torch.sigmoid(1.702 * hidden))


def flown(params):
    """What both sides' layers get: ({layer: (n, T)}, {layer: (n, V)})."""
    vision = {at: params[f"cross_prompts_visual.{at}"] for at in range(99) if f"cross_prompts_visual.{at}" in params}
    text = {at: params["ctx"] if at == 0 else params[f"cross_prompts_text.{at}"] for at in vision}
    cross = sum(name.startswith("text_proxy_token.") for name in params)
    n = len(params["ctx"])
    pooled = [
        _pooled(params, f"attn_pooling_text_nets.{at}", params[f"text_proxy_token.{at}"], text[at])
        for at in range(cross)
    ]
    lower = _mapped(params, "text2visual_net", torch.cat([vision[at] for at in range(cross)]), torch.cat(pooled))
    upper = range(cross, len(vision))
    pooled = [
        _pooled(
            params, f"attn_pooling_visual_nets.{at - cross}", params[f"visual_proxy_token.{at - cross}"], vision[at]
        )
        for at in upper
    ]
    higher = _mapped(params, "visual2text_net", torch.cat([text[at] for at in upper]), torch.cat(pooled))
    vision = {**vision, **dict(enumerate(lower.split(n)))}
    return {**text, **dict(zip(upper, higher.split(n)))}, vision


def blended(own, frozen):
    """Unit features (N, E), one after the other."""
    return torch.stack([plain.unit_rows(plain.unit_rows(one) + other) for one, other in zip(own, frozen)])


def features(clip_model, params, tokens, images, names, frozen_text=None):
    """Blended image (B, E) and class features (C, E), and what they are blended with."""
    text, vision = flown(params)
    words, n = clip_model.token_embedding.weight[tokens], len(params["ctx"])
    x = torch.cat([words[:, :1], text[0].expand(len(tokens), -1, -1), words[:, 1 + n :]], dim=1)
    own = plain.text_features(clip_model, tokens, x, {at: one for at, one in text.items() if at}, n)
    if frozen_text is None:
        frozen_text = teacher(clip_model, names, CENTERED)
    with torch.no_grad():
        frozen = plain.unit_rows(clip_model.encode_image(images))
    return (
        blended(plain.image_features(clip_model, images, vision), frozen),
        blended(own, frozen_text),
        frozen,
        frozen_text,
    )


def logits(clip_model, params, tokens, images, name_lengths):
    """Of prompts `a photo of a NAME.`, whose names they have."""
    from clip import clip

    names = [clip._tokenizer.decode(row[5 : int(row.argmax()) - 1].tolist()).strip() for row in tokens]
    image, text, *_ = features(clip_model, params, tokens, images, names)
    return clip_model.logit_scale.exp() * image @ text.T


def loss(clip_model, params, tokens, images, labels, names, weight, frozen_text=None):
    """Of a batch."""
    image, text, frozen, frozen_text = features(clip_model, params, tokens, images, names, frozen_text)
    own = entropy_of(clip_model.logit_scale.exp() * image @ text.T, labels)
    return own + weight * (distance(text, frozen_text) + distance(image, frozen))


def step(clip_model, params, tokens, images, labels, lengths, names):
    """A step with LAMBD 10."""
    found = loss(clip_model, params, tokens, images, labels, names, 10)
    return found, torch.autograd.grad(found, list(params.values()))
