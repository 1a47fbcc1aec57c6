"""LightRA written down once more, slowly and without the engine; parameters under the names of its checkpoints."""

import math

import torch
import torch.nn.functional as F

from modprompt.engine.layer_change import LayerChange
from tests.plain_neighbours import image_features, text_features
from tests.plain_teachers import distance

WEIGHTS = {"COS_WEIGHT": 0.5, "LOSS_WEIGHT": 3}  # of the row in tests/methods.py


class Beside(LayerChange):
    """Attention of the same queries to other keys, head by head, in front of the output projection."""

    def __init__(self, pool, block):
        self.pool, self.block = pool, block

    def product(self, which, x):
        if which == "q":
            self.normal = x
        if which != "o":
            return None
        width, attn = x.shape[-1], self.block.attn
        query = self.normal @ attn.in_proj_weight[:width].T + attn.in_proj_bias[:width]
        seen = []
        for head in range(width // 64):
            part = slice(64 * head, 64 * head + 64)
            keys, values = self.pool[..., part]
            seen.append((query[..., part] @ keys.T / math.sqrt(64)).softmax(-1) @ values)
        return torch.cat(seen, dim=-1) @ attn.out_proj.weight.T


def changes(params, name, transformer):
    pools = [params.get(f"{name}ResidualAttention.{at}.prefix_pool") for at in range(len(transformer.resblocks))]
    return [None if pool is None else Beside(pool, block) for pool, block in zip(pools, transformer.resblocks)]


def features(clip_model, params, tokens, images):
    """Unit image (B, E) and text (P, E) features, learned and frozen."""
    words = clip_model.token_embedding.weight[tokens]
    sides = (("text", clip_model.transformer), ("visual", clip_model.visual.transformer))
    text, visual = (changes(params, *side) for side in sides)
    with torch.no_grad():
        frozen = image_features(clip_model, images, {}), text_features(clip_model, tokens, words, {}, 0)
    own = image_features(clip_model, images, {}, visual), text_features(clip_model, tokens, words, {}, 0, changes=text)
    return *own, *frozen


def logits(clip_model, params, tokens, images, name_lengths):
    image, text, *_ = features(clip_model, params, tokens, images)
    return clip_model.logit_scale.exp() * image @ text.T


def loss(clip_model, params, tokens, images, labels, cos_weight, loss_weight):
    """Of a batch; tokens (C, 77) are those of one sentence of each class."""
    image, text, frozen_image, frozen_text = features(clip_model, params, tokens, images)
    mixed = cos_weight * image @ text.T + frozen_image @ text.T + image @ frozen_text.T
    entropy = F.cross_entropy(clip_model.logit_scale.exp() * mixed / (cos_weight + 2), labels)
    return entropy + loss_weight * (distance(text, frozen_text) + distance(image, frozen_image))


def step(clip_model, params, tokens, images, labels, name_lengths, names):
    found = loss(clip_model, params, tokens, images, labels, *WEIGHTS.values())
    return found, torch.autograd.grad(found, list(params.values()))
