"""MMRL and MMRL++ written down once more, slowly and without the engine: every class and token in every layer.

Parameters are dicts under the names of the reference's checkpoints.
"""

import math

import torch

from tests.plain_mpl import layer_norm, run_layer
from tests.plain_neighbours import unit_rows
from tests.plain_teachers import CENTERED, distance, entropy_of, teacher

OWN = "representation_learner."


def tokens_of(params, side):
    """The tokens (n, W) that each listed layer of a side (t or v) gets, one after the other."""
    tokens, found = params[OWN + "compound_rep_tokens"], []
    name = f"{OWN}srra_r2{side}proj"
    for at in range(99):
        if f"{OWN}compound_rep_tokens_r2{side}proj.{at}.weight" in params:
            name = f"{OWN}compound_rep_tokens_r2{side}proj.{at}"
            weight, bias = params[f"{name}.weight"], params[f"{name}.bias"]
        elif f"{name}.srra.{at}.A" in params:
            own = params[f"{name}.srra.{at}.A"] @ params[f"{name}.srra.{at}.B"]
            weight, bias = params[f"{name}.weight"] + own, params[f"{name}.srra.{at}.bias"]
        else:
            return found
        found.append(tokens @ weight.T + bias)


def _through(x, blocks, heads, mask_of, layers, tokens, beta):
    """x (B, L, W) through all blocks; the listed layers (from 1) get tokens behind the first place."""
    new = dict(zip(layers, tokens))
    for number, block in enumerate(blocks, start=1):
        if number in new:
            own = new[number].expand(len(x), -1, -1)
            count = own.shape[1]
            if number == layers[0]:
                x = torch.cat([x[:, :1], own, x[:, 1:]], dim=1)
            else:
                mixed = beta * own + (1 - beta) * x[:, 1 : 1 + count]
                x = torch.cat([x[:, :1], mixed, x[:, 1 + count :]], dim=1)
        x = run_layer(x, block, heads, mask_of(x.shape[1]))
    return x


def text_features(clip_model, params, ids, layers, beta=1.0):
    """Unit features (C, E) of prompts (C, 77)."""
    x = clip_model.token_embedding.weight[ids] + clip_model.positional_embedding
    tokens = tokens_of(params, "t")
    heads = clip_model.transformer.width // 64

    def causal(length):
        return torch.full((length, length), -math.inf).triu(1)

    x = layer_norm(
        _through(x, clip_model.transformer.resblocks, heads, causal, layers, tokens, beta), clip_model.ln_final
    )
    ends = ids.argmax(dim=1) + len(tokens[0])
    return unit_rows(x[torch.arange(len(ids)), ends] @ clip_model.text_projection)


def image_features(clip_model, params, images, layers, beta=1.0):
    """Both unit features (B, E) of images: the class token's, and that of the tokens that leave the last layer."""
    visual = clip_model.visual
    patch, width = visual.conv1.weight.shape[-1], visual.conv1.weight.shape[0]
    tiles = images.unfold(2, patch, patch).unfold(3, patch, patch).permute(0, 2, 3, 1, 4, 5).flatten(3).flatten(1, 2)
    x = tiles @ visual.conv1.weight.flatten(1).T
    x = torch.cat([visual.class_embedding.expand(len(images), 1, width), x], dim=1) + visual.positional_embedding
    tokens = tokens_of(params, "v")
    blocks = visual.transformer.resblocks
    x = _through(
        layer_norm(x, visual.ln_pre), blocks, width // 64, lambda length: torch.zeros(()), layers, tokens, beta
    )
    x = layer_norm(x, visual.ln_post)
    if "image_encoder.proj_rep" in params:
        projection = params["image_encoder.proj_rep"]
    else:
        projection = visual.proj + params["image_encoder.A"] @ params["image_encoder.B"]
    read = sum(x[:, 1 + place] for place in range(len(tokens[0]))) / len(tokens[0])
    return unit_rows(x[:, 0] @ visual.proj), unit_rows(read @ projection)


def each(clip_model, params, ids, images, layers, beta=1.0, scale=None):
    """Both logits (B, C), image and class features."""
    text = text_features(clip_model, params, ids, layers, beta)
    image, read = image_features(clip_model, params, images, layers, beta)
    scale = clip_model.logit_scale.exp() if scale is None else scale
    return scale * image @ text.T, scale * read @ text.T, image, text


def fused(clip_model, params, ids, images, name_lengths, layers, beta=1.0, alpha=0.7):
    """Logits (B, C) for the classes of the training."""
    own, read, *_ = each(clip_model, params, ids, images, layers, beta)
    return alpha * own + (1 - alpha) * read


def loss(clip_model, params, ids, images, labels, frozen_text, layers, beta=1.0, alpha=0.7, weight=1.0):
    """Of a batch; frozen_text (C, E) are CLIP's own class features."""
    own, read, image, text = each(clip_model, params, ids, images, layers, beta)
    with torch.no_grad():
        frozen = unit_rows(clip_model.encode_image(images))
    apart = distance(image, frozen) + distance(text, frozen_text)
    return alpha * entropy_of(own, labels) + (1 - alpha) * entropy_of(read, labels) + weight * apart


def step(clip_model, params, ids, images, labels, lengths, names, layers, beta=1.0):
    """A step on EuroSAT: (loss, gradients)."""
    frozen = teacher(clip_model, names, CENTERED)
    found = loss(clip_model, params, ids, images, labels, frozen, layers, beta)
    return found, torch.autograd.grad(found, list(params.values()))
