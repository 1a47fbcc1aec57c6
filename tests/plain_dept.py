"""DePT beside CoOp written down once more, slowly and without the engine; parameters under the names of its checkpoints."""

import torch
import torch.nn.functional as F

WEIGHT = 0.7


def raw_text(clip_model, ctx, tokens):
    """Class features (C, E) of a context in front of the names, not normalised."""
    words = clip_model.token_embedding.weight[tokens]
    x = torch.cat([words[:, :1], ctx.expand(len(words), -1, -1), words[:, 1 + len(ctx) :]], dim=1)
    x = (x + clip_model.positional_embedding).permute(1, 0, 2)
    x = clip_model.ln_final(clip_model.transformer(x).permute(1, 0, 2))
    return x[torch.arange(len(x)), tokens.argmax(-1)] @ clip_model.text_projection


def _scaled(features, params, side):
    return features * params[f"film_lp_{side}.scale"] + params[f"film_lp_{side}.bias"]


def _rows(features, params):
    return features @ params["linear_probe_proj.weight"].T + params["linear_probe_proj.bias"]


def _cosines(clip_model, image, text):
    return clip_model.logit_scale.exp() * F.normalize(image, dim=-1) @ F.normalize(text, dim=-1).T


def coop(clip_model, params, tokens, images, name_lengths):
    """Fused logits (B, C) of the classes of the training."""
    image, text = clip_model.encode_image(images), raw_text(clip_model, params["ctx"], tokens)
    cosines, own = _cosines(clip_model, image, text), _rows(_scaled(image, params, "img"), params)
    return (1 - WEIGHT) * cosines + WEIGHT * own


def step(clip_model, params, tokens, images, labels, name_lengths, names):
    """The loss, and gradients."""
    image, text = clip_model.encode_image(images), raw_text(clip_model, params["ctx"], tokens)
    rows = torch.cat([_scaled(text, params, "text")[labels], _scaled(image, params, "img")])
    of_head = F.cross_entropy(_rows(rows, params), torch.cat([labels, labels]))
    loss = (1 - WEIGHT) * F.cross_entropy(_cosines(clip_model, image, text), labels) + WEIGHT * of_head
    return loss, torch.autograd.grad(loss, list(params.values()))
