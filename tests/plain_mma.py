"""MMA written down once more, slowly and without the engine; parameters under the names of its checkpoints."""

import torch
import torch.nn.functional as F

from modprompt.engine.layer_change import LayerChange
from tests import plain_mpl
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


def both(clip_model, params):
    """Of both sides, text first; beside prompts their names begin with `adapters.`"""
    own = {name.removeprefix("adapters."): one for name, one in params.items()}
    sides = {"text": clip_model.transformer, "visual": clip_model.visual.transformer}
    return [changes(own, side, len(there.resblocks)) for side, there in sides.items()]


def logits(clip_model, params, tokens, images, name_lengths):
    return _logits(clip_model, clip_model.token_embedding.weight[tokens], tokens, images, both(clip_model, params))


def _logits(clip_model, words, tokens, images, beside):
    text = text_features(clip_model, tokens, words, {}, 0, changes=beside[0])
    return clip_model.logit_scale.exp() * image_features(clip_model, images, {}, beside[1]) @ text.T


def beside_coop(clip_model, params, tokens, images, name_lengths):
    """CoOp's logits, the class name at the end, with adapters."""
    words, n = clip_model.token_embedding.weight[tokens], len(params["ctx"])
    words = torch.cat([words[:, :1], params["ctx"].expand(len(words), -1, -1), words[:, 1 + n :]], dim=1)
    return _logits(clip_model, words, tokens, images, both(clip_model, params))


def beside_mpl(clip_model, params, tokens, images, name_lengths):
    """MPL's logits with adapters."""
    return plain_mpl.logits_of_row(clip_model, params, tokens, images, name_lengths, both(clip_model, params))


def step_of(logits_of):
    """The step with these logits: the loss, and gradients, those of adapters divided by the scale."""

    def step(clip_model, params, tokens, images, labels, name_lengths, names):
        loss = F.cross_entropy(logits_of(clip_model, params, tokens, images, name_lengths), labels)
        gradients = torch.autograd.grad(loss, list(params.values()))
        return loss, [one / SCALE if "adapter" in name else one for name, one in zip(params, gradients)]

    return step
