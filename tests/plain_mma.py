"""MMA written down once more, slowly and without the engine; parameters under the names of its checkpoints."""

import torch
import torch.nn.functional as F

from modprompt.engine.layer_change import LayerChange
from tests.plain_neighbours import image_features, text_features

SCALE = 0.05  # of the row in tests/methods.py


class Beside(LayerChange):
    """The adapter of a layer of a side, "text" or "visual"; the gradients are the true ones."""

    def __init__(self, params, side, number):
        self.params, self.side, self.number = params, side, number

    def _linear(self, x, side, part):
        name = f"{side}_adapter.{self.number}.{part}"
        return x @ self.params[f"{name}.weight"].T + self.params[f"{name}.bias"]

    def residual(self, out, h):
        inner = torch.relu(self._linear(torch.relu(self._linear(h, self.side, "down.0")), "shared", "0"))
        return out + SCALE * self._linear(inner, self.side, "up")


def changes(params, side, layers):
    own = {int(name.split(".")[1]) for name in params if name.startswith("shared_adapter")}
    return [Beside(params, side, number) if number in own else None for number in range(1, layers + 1)]


def logits(clip_model, params, tokens, images, name_lengths):
    text, vision = clip_model.transformer.resblocks, clip_model.visual.transformer.resblocks
    words = clip_model.token_embedding.weight[tokens]
    t = text_features(clip_model, tokens, words, {}, 0, changes=changes(params, "text", len(text)))
    f = image_features(clip_model, images, {}, changes(params, "visual", len(vision)))
    return clip_model.logit_scale.exp() * f @ t.T


def step(clip_model, params, tokens, images, labels, name_lengths, names):
    """The loss, and gradients divided by the scale."""
    loss = F.cross_entropy(logits(clip_model, params, tokens, images, name_lengths), labels)
    return loss, [one / SCALE for one in torch.autograd.grad(loss, list(params.values()))]
