"""Low-rank additions to attention written down once more, slowly: whole sequences of 77 tokens, matrix by matrix."""

import math

import torch

from modprompt.engine.layer_change import LayerChange
from tests import plain_mpl
from tests import plain_neighbours as plain


class PlainLowRank(LayerChange):
    """Of a layer, for tests/plain_mpl.py's: scale B A dropout(x); masks are drawn in the order token, sequence, channel.

    Args:
        of: {matrix: (A, B)}.
        scale: of the addition.
        rate: of dropout.
        through: whether x gets a gradient.
    """

    def __init__(self, of, scale, rate=0.0, through=True):
        self.of, self.scale, self.rate, self.through = of, scale, rate, through

    def product(self, which, x):
        if which not in self.of:
            return None
        a, b = self.of[which]
        x = x if self.through else x.detach()
        if self.rate:
            batch, length, width = x.shape
            kept = torch.empty(length, batch, width).bernoulli_(1 - self.rate)
            x = x * kept.transpose(0, 1) / (1 - self.rate)
        return self.scale * (x @ (b @ a).T)


def changes(params, side, layers, matrices, r, alpha=1, **more):
    """The changes of a side's layers, of parameters by the names of our checkpoints."""
    found = []
    for layer in range(layers):
        of = {}
        for number, which in enumerate(matrices):
            if f"{side}.{layer}.a" in params:
                of[which] = params[f"{side}.{layer}.a"][number], params[f"{side}.{layer}.b"][number]
        found.append(PlainLowRank(of, alpha / math.sqrt(r), **more))
    return found


def of_both(clip_model, params, matrices, r, alpha=1, prefix="", **more):
    """The changes of the text side's layers and of the vision side's; their names in `params` begin with a prefix."""
    own = {key[len(prefix) :]: value for key, value in params.items() if key.startswith(prefix)}
    counts = {"text": clip_model.transformer.resblocks, "vision": clip_model.visual.transformer.resblocks}
    return tuple(changes(own, side, len(blocks), matrices, r, alpha, **more) for side, blocks in counts.items())


def logits(clip_model, params, tokens, images, matrices, r, scale, **more):
    """Of the reference: texts first, then images; whatever the matrices' order, masks are those of q, k, v, o."""
    text, vision = of_both(clip_model, params, matrices, r, **more)
    words = clip_model.token_embedding.weight[tokens]
    classes = plain.text_features(clip_model, tokens, words, {}, 0, changes=text)
    return scale * plain.image_features(clip_model, images, {}, vision) @ classes.T


def coop(clip_model, params, tokens, images, name_lengths):
    """CoOp's logits with additions to q and v, of rank 2."""
    added = of_both(clip_model, params, "qv", 2, prefix="adapters.")
    return plain.coop(clip_model, params, tokens, images, name_lengths, changes=added)


def mpl(clip_model, params, tokens, images, name_lengths):
    """MPL's logits with additions to q and v, of rank 2."""
    added = of_both(clip_model, params, "qv", 2, prefix="adapters.")
    return plain_mpl.logits_of_row(clip_model, params, tokens, images, name_lengths, added)
