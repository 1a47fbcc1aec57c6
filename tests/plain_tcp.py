"""TCP written down once more, slowly and without the engine: one class after the other, every token in every layer.

Parameters are dicts under the names of the reference's checkpoints.
"""

import math

import torch

from tests.plain_mpl import layer_norm, run_layer
from tests.plain_neighbours import unit_rows
from tests.plain_teachers import CENTERED, distance, entropy_of, teacher


def class_tokens(params, frozen):
    """(C, n * T) of the teacher's features (C, E)."""
    rows = []
    for feature in frozen:
        hidden = params["meta_net.linear1.weight"] @ feature + params["meta_net.linear1.bias"]
        hidden = hidden * torch.sigmoid(1.702 * hidden)
        rows.append(params["meta_net.linear2.weight"] @ hidden + params["meta_net.linear2.bias"])
    return torch.stack(rows)


def text_features(clip_model, params, made, tokens, steps):
    """Unit features (C, E) of prompts (C, 77), whose first words give way to the context.

    Args:
        clip_model: a stock CLIP.
        params: of the learner.
        made: (C, n * T) class tokens of all layers, one layer behind another.
        tokens: ids of the prompts.
        steps: (remove, add) in front of each layer; what layer 0 adds is the context.
    """
    ctx, width, features = params["ctx"], clip_model.transformer.width, []
    for row, own in zip(tokens, made):
        words = clip_model.token_embedding.weight[row[: int(row.argmax()) + 1]]
        x = torch.cat([words[:1], ctx, words[1 + len(ctx) :]]) + clip_model.positional_embedding[: len(words)]
        present, left = len(ctx), own.view(-1, width)
        for block, (remove, add) in zip(clip_model.transformer.resblocks, [(0, 0), *steps[1:]]):
            x = torch.cat([x[: 1 + present - remove], left[:add], x[1 + present :]])
            present, left = present - remove + add, left[add:]
            x = run_layer(x[None], block, width // 64, torch.full((len(x),) * 2, -math.inf).triu(1))[0]
        features.append(layer_norm(x[-1], clip_model.ln_final) @ clip_model.text_projection)
    return unit_rows(torch.stack(features))


OF_ROW = [(0, 4), (0, 0), (4, 4), (0, 0)]  # class tokens in place of the context at layer 2, of four


def logits(clip_model, params, tokens, images, name_lengths):
    """(B, C) on EuroSAT of prompts `X X X X NAME.`"""
    from clip import clip

    names = [clip._tokenizer.decode(row[5 : int(row.argmax()) - 1].tolist()).strip() for row in tokens]
    text = text_features(clip_model, params, class_tokens(params, teacher(clip_model, names, CENTERED)), tokens, OF_ROW)
    return clip_model.logit_scale.exp() * unit_rows(clip_model.encode_image(images)) @ text.T


def loss(clip_model, text, frozen, images, labels, weight=8):
    """Cross entropy, and the distance to the frozen class features."""
    with torch.no_grad():
        image = unit_rows(clip_model.encode_image(images))
    return entropy_of(clip_model.logit_scale.exp() * image @ text.T, labels) + weight * distance(text, frozen)


def step(clip_model, params, tokens, images, labels, lengths, names):
    """A step on EuroSAT."""
    frozen = teacher(clip_model, names, CENTERED)
    text = text_features(clip_model, params, class_tokens(params, frozen), tokens, OF_ROW)
    found = loss(clip_model, text, frozen, images, labels)
    return found, torch.autograd.grad(found, list(params.values()))
