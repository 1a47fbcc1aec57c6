"""The neighbouring methods written down once more, slowly and without the engine, as tests/plain_mpl.py does for MPL.

Parameters are dicts under the names of the reference's checkpoints, without `prompt_learner.`.
"""

import functools
import math

import torch

from modprompt.methods.parts.templates import DIVERSE
from tests.plain_mpl import layer_norm, run_layer


def unit_rows(x):
    return x / x.norm(dim=-1, keepdim=True)


def text_features(clip_model, tokens, x, deep, n_ctx, unit=True, changes=()):
    """(C, E) of embedded prompts x (C, 77, T); deep {layer: (n_ctx, T)} replaces positions 1..n_ctx.

    `changes` are the layers', or none.
    """
    n_cls, length = tokens.shape
    x = x + clip_model.positional_embedding
    mask = torch.full((length, length), -math.inf).triu(1)
    for i, block in enumerate(clip_model.transformer.resblocks):
        if i in deep:
            x = torch.cat([x[:, :1], deep[i].expand(n_cls, -1, -1), x[:, 1 + n_ctx :]], dim=1)
        x = run_layer(x, block, clip_model.transformer.width // 64, mask, changes[i] if changes else None)
    x = layer_norm(x, clip_model.ln_final)
    x = x[torch.arange(n_cls), tokens.argmax(dim=1)] @ clip_model.text_projection
    return unit_rows(x) if unit else x


def image_features(clip_model, images, deep, changes=()):
    """(B, E); deep {layer: (n, V)} is appended at layer 0 and replaces the last n tokens at later ones."""
    visual = clip_model.visual
    patch, width = visual.conv1.weight.shape[-1], visual.conv1.weight.shape[0]
    tiles = images.unfold(2, patch, patch).unfold(3, patch, patch).permute(0, 2, 3, 1, 4, 5).flatten(3).flatten(1, 2)
    x = tiles @ visual.conv1.weight.flatten(1).T
    x = torch.cat([visual.class_embedding.expand(len(images), 1, width), x], dim=1) + visual.positional_embedding
    if 0 in deep:
        x = torch.cat([x, deep[0].expand(len(images), -1, -1)], dim=1)
    x = layer_norm(x, visual.ln_pre)
    for i, block in enumerate(visual.transformer.resblocks):
        if i > 0 and i in deep:
            x = torch.cat([x[:, : -deep[i].shape[0]], deep[i].expand(len(images), -1, -1)], dim=1)
        x = run_layer(x, block, width // 64, torch.zeros(()), changes[i] if changes else None)
    return unit_rows(layer_norm(x[:, 0], visual.ln_post) @ visual.proj)


def _place(frozen, ctx, name_lengths, position):
    """Prompts (C, 77, T): the words' embeddings with ctx (C, n, T) where the first n were, and the name moved."""
    rows = []
    n = ctx.shape[1]
    for row, own, length in zip(frozen, ctx, name_lengths):
        start, name, rest = row[:1], row[1 + n : 1 + n + length], row[1 + n + length :]
        half = n // 2
        if position == "end":
            pieces = [start, own, name, rest]
        elif position == "middle":
            pieces = [start, own[:half], name, own[half:], rest]
        else:
            pieces = [start, name, own, rest]
        rows.append(torch.cat(pieces))
    return torch.stack(rows)


def coop(clip_model, params, tokens, images, name_lengths, position="end", changes=()):
    """CoOp's logits; ctx is (n, T) or, class by class, (C, n, T). Changes are of the layers of both sides, or none."""
    frozen = clip_model.token_embedding.weight[tokens]
    ctx = params["ctx"]
    ctx = ctx if ctx.dim() == 3 else ctx.expand(len(tokens), -1, -1)
    of_text, of_vision = changes or ((), ())
    text = text_features(clip_model, tokens, _place(frozen, ctx, name_lengths, position), {}, 0, changes=of_text)
    image = image_features(clip_model, images, {}, of_vision) if changes else unit_rows(clip_model.encode_image(images))
    return clip_model.logit_scale.exp() * image @ text.T


def described(clip_model, ctx, names, phrases, images, mode, position="end"):
    """Logits of CoOp with phrases {name: [phrase]}; one prompt after the other. AS: the mean of the prompts' logits."""
    from clip import clip

    image = unit_rows(clip_model.encode_image(images))
    scale, n, number, columns = clip_model.logit_scale.exp(), ctx.shape[-2], 0, []
    for name in names:
        own = []
        for phrase in phrases[name]:
            label = f"{name.lower()}, which is/has {phrase}"
            tokens = clip.tokenize(" ".join(["X"] * n) + f" {label}.").long()
            frozen = clip_model.token_embedding.weight[tokens]
            context = (ctx[number] if ctx.dim() == 3 else ctx)[None]
            x = _place(frozen, context, [len(clip._tokenizer.encode(label))], position)
            own.append(text_features(clip_model, tokens, x, {}, 0, unit=mode == "AS")[0])
            number += 1
        if mode == "AS":
            columns.append(torch.stack([scale * image @ one for one in own]).mean(0))
        else:
            columns.append(scale * image @ unit_rows(sum(own) / len(own)))
    return torch.stack(columns, dim=1)


def of_phrases(clip_model, params, tokens, images, name_lengths):
    """ALVLM's logits; names and phrases are in the prompts: `X ... X NAME, which is/has PHRASE.`"""
    from clip import clip

    phrases = {}
    for row in tokens:
        words = clip._tokenizer.decode(row[1 : int(row.argmax())].tolist()).replace(" .", "").lstrip("x ")
        name, _, phrase = words.replace(" is / has ", " is/has ").partition(" , which is/has ")
        phrases.setdefault(name, []).append(phrase.strip())
    return described(clip_model, params["ctx"], list(phrases), phrases, images, "AE")


def cocoop(clip_model, params, tokens, images, name_lengths):
    """CoCoOp's logits, one image after the other."""
    frozen = clip_model.token_embedding.weight[tokens]
    rows = []
    for image in unit_rows(clip_model.encode_image(images)):
        hidden = torch.relu(params["meta_net.linear1.weight"] @ image + params["meta_net.linear1.bias"])
        shift = params["meta_net.linear2.weight"] @ hidden + params["meta_net.linear2.bias"]
        ctx = (params["ctx"] + shift).expand(len(tokens), -1, -1)
        text = text_features(clip_model, tokens, _place(frozen, ctx, name_lengths, "end"), {}, 0)
        rows.append(clip_model.logit_scale.exp() * text @ image)
    return torch.stack(rows)


def maple(clip_model, params, tokens, images, name_lengths):
    """MaPLe's logits."""
    frozen = clip_model.token_embedding.weight[tokens]
    n = params["ctx"].shape[0]
    depth = 1 + sum(name.startswith("compound_prompts_text.") for name in params)
    deep_text = {i: params[f"compound_prompts_text.{i - 1}"] for i in range(1, depth)}
    deep_image = {0: params["ctx"] @ params["proj.weight"].T + params["proj.bias"]}
    for i in range(1, depth):
        name = f"compound_prompt_projections.{i - 1}"
        deep_image[i] = deep_text[i] @ params[f"{name}.weight"].T + params[f"{name}.bias"]
    x = _place(frozen, params["ctx"].expand(len(tokens), -1, -1), name_lengths, "end")
    text = text_features(clip_model, tokens, x, deep_text, n)
    return clip_model.logit_scale.exp() * image_features(clip_model, images, deep_image) @ text.T


def ivlp_features(clip_model, params, tokens, images, name_lengths):
    """Normalised image and class features of IVLP, PromptSRC and VPT (which has no ctx)."""
    frozen = clip_model.token_embedding.weight[tokens]
    deep = {"image": {}, "text": {}}
    for name, value in params.items():
        if name == "image_encoder.VPT":
            deep["image"][0] = value
        elif name.endswith("VPT_shallow"):
            deep[name.split("_")[0]][int(name.split(".")[3])] = value
    x, n = frozen, 0
    if "ctx" in params:
        n = params["ctx"].shape[0]
        x = _place(frozen, params["ctx"].expand(len(tokens), -1, -1), name_lengths, "end")
    text = text_features(clip_model, tokens, x, deep["text"], n)
    return image_features(clip_model, images, deep["image"]), text


def ivlp(clip_model, params, tokens, images, name_lengths):
    """Logits of IVLP and VPT."""
    image, text = ivlp_features(clip_model, params, tokens, images, name_lengths)
    return clip_model.logit_scale.exp() * image @ text.T


def promptsrc_loss(clip_model, params, tokens, images, labels, name_lengths, frozen_text, weights):
    """Cross entropy, distances to frozen features, and the divergence of the logits, with the mean over all cells."""
    image, text = ivlp_features(clip_model, params, tokens, images, name_lengths)
    teacher = unit_rows(clip_model.encode_image(images))
    logits = clip_model.logit_scale.exp() * image @ text.T
    goal = clip_model.logit_scale.exp() * teacher @ frozen_text.T
    log_p, log_q = torch.log_softmax(logits, 1), torch.log_softmax(goal, 1)
    cross_entropy = -log_p[torch.arange(len(labels)), labels].mean()
    divergence = (log_q.exp() * (log_q - log_p)).sum() / logits.numel()
    text_weight, image_weight, logits_weight = weights
    return (
        cross_entropy
        + text_weight * (text - frozen_text).abs().mean()
        + image_weight * (image - teacher).abs().mean()
        + logits_weight * divergence
    )


@functools.lru_cache(maxsize=1)
@torch.no_grad()
def _frozen_text(clip_model, names):
    return mean_template_features(clip_model, names, DIVERSE)


def promptsrc_step(clip_model, params, tokens, images, labels, name_lengths, names):
    """A step with the published weights."""
    frozen = _frozen_text(clip_model, tuple(names))
    loss = promptsrc_loss(clip_model, params, tokens, images, labels, name_lengths, frozen, (25, 10, 1))
    return loss, torch.autograd.grad(loss, list(params.values()))


def mean_template_features(clip_model, classnames, templates):
    """(C, E): raw features of all templates averaged, then normalised."""
    from clip import clip

    total = sum(
        clip_model.encode_text(clip.tokenize([template.replace("{}", name) for name in classnames]))
        for template in templates
    )
    return unit_rows(total / len(templates))


def normal(*shape):
    """A draw with std 0.02."""
    return torch.nn.init.normal_(torch.empty(*shape), std=0.02)
