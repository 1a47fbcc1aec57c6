"""DPL's search written down once more, slowly and without the engine: a whole attention for every option of a layer.

77 text positions, every class and token in every layer; parameters are dicts under the names of the reference's
checkpoints, without `prompt_learner.`, and alphas beside them.
"""

import math

import torch

from modprompt.methods.parts.templates import DIVERSE
from tests.plain_mpl import layer_norm


def initial_parameters(clip_model, *, most_text, most_vision):
    """Alphas and tokens, drawn in the reference's order."""
    text_width, vision_width = clip_model.ln_final.weight.shape[0], clip_model.visual.conv1.weight.shape[0]
    found = {}
    for side, layers, most, width in (
        ("img", len(clip_model.visual.transformer.resblocks), most_vision, vision_width),
        ("txt", len(clip_model.transformer.resblocks), most_text, text_width),
    ):
        found[f"alpha_{side}"] = 0.001 * torch.randn(layers, 1 + most)
        for layer in range(layers):
            for n in range(1, most + 1):
                empty = torch.empty(n, width)
                found[f"ctx_{side}_lst.{layer}.{n - 1}"] = empty.normal_() if side == "img" else empty.uniform_()
    return found


def _attended(x, prompts, block, heads, mask):
    """The attention layer's output for x (B, L, D), which sees itself (mask (L, L)) and prompts (n, D)."""
    width = x.shape[-1]
    seen = torch.cat([x, prompts.expand(len(x), -1, -1)], dim=1)
    weight, bias = block.attn.in_proj_weight.split(width), block.attn.in_proj_bias.split(width)
    q = layer_norm(x, block.ln_1) @ weight[0].T + bias[0]
    k, v = (layer_norm(seen, block.ln_1) @ weight[i].T + bias[i] for i in (1, 2))
    mask = torch.cat([mask, torch.zeros(x.shape[1], len(prompts))], dim=1)
    outputs = []
    for h in range(heads):
        part = slice(h * width // heads, (h + 1) * width // heads)
        scores = q[..., part] @ k[..., part].transpose(1, 2) / math.sqrt(width // heads) + mask
        outputs.append(torch.softmax(scores, dim=-1) @ v[..., part])
    return torch.cat(outputs, dim=-1) @ block.attn.out_proj.weight.T + block.attn.out_proj.bias


def _layer(x, block, heads, mask, options, alpha):
    weights = torch.softmax(alpha, dim=0)
    y = x + sum(weight * _attended(x, tokens, block, heads, mask) for weight, tokens in zip(weights, options))
    hidden = layer_norm(y, block.ln_2) @ block.mlp.c_fc.weight.T + block.mlp.c_fc.bias
    hidden = hidden * torch.sigmoid(1.702 * hidden)
    return y + hidden @ block.mlp.c_proj.weight.T + block.mlp.c_proj.bias


def _options(params, side, layer, width):
    alpha = params[f"alpha_{side}"][layer]
    if f"ctx_{side}_lst.{layer}" in params:
        return [params[f"ctx_{side}_lst.{layer}"]], alpha
    return [torch.empty(0, width), *(params[f"ctx_{side}_lst.{layer}.{c}"] for c in range(len(alpha) - 1))], alpha


def trained_logits(clip_model, params, tokens, images, name_lengths, words=None):
    """The train stage's: one option of each layer; `words` (C, 77, T) in place of the embedded token ids (C, 77)."""
    sides = {"txt": clip_model.transformer.resblocks, "img": clip_model.visual.transformer.resblocks}
    whole = {}
    for side, blocks in sides.items():
        whole[f"alpha_{side}"] = torch.zeros(len(blocks), 1)
        for layer in range(len(blocks)):
            width = blocks[layer].attn.in_proj_weight.shape[1]
            whole[f"ctx_{side}_lst.{layer}"] = params.get(f"ctx_{side}_lst.{layer}", torch.empty(0, width))
    return logits(clip_model, whole, tokens, images, words)


def search(clip_model, params, tokens, images, name_lengths):
    """The search stage's; alphas under the names that learners have in steps."""
    names = {"alphas.vision": "alpha_img", "alphas.text": "alpha_txt"}
    return logits(clip_model, {names.get(key, key): value for key, value in params.items()}, tokens, images)


def ensemble(clip_model, params, tokens, images, name_lengths):
    """The train stage's for prompts that end in `itap of the NAME.`, embedded words averaged over all templates."""
    from clip import clip

    names = [clip._tokenizer.decode(row[5 : int(row.argmax()) - 1].tolist()).strip() for row in tokens]
    each = [clip.tokenize([template.replace("{}", name) for name in names]).long() for template in DIVERSE]
    words = torch.stack([clip_model.token_embedding.weight[ids] for ids in each]).mean(0)
    return trained_logits(clip_model, params, tokens, images, name_lengths, words)


def logits(clip_model, params, tokens, images, words=None):
    """(B, C) of token ids (C, 77) and images (B, 3, H, W)."""
    words = clip_model.token_embedding.weight[tokens] if words is None else words
    x = words + clip_model.positional_embedding
    width, length = x.shape[-1], x.shape[1]
    mask = torch.full((length, length), -math.inf).triu(1)
    for layer, block in enumerate(clip_model.transformer.resblocks):
        x = _layer(x, block, block.attn.num_heads, mask, *_options(params, "txt", layer, width))
    rows = layer_norm(x, clip_model.ln_final)[torch.arange(len(tokens)), tokens.argmax(dim=1)]
    text = rows @ clip_model.text_projection

    visual = clip_model.visual
    y = visual.conv1(images).flatten(2).permute(0, 2, 1)
    first = visual.class_embedding.expand(len(y), 1, -1)
    y = layer_norm(torch.cat([first, y], dim=1) + visual.positional_embedding, visual.ln_pre)
    width, nothing = y.shape[-1], torch.zeros(y.shape[1], y.shape[1])
    for layer, block in enumerate(visual.transformer.resblocks):
        y = _layer(y, block, block.attn.num_heads, nothing, *_options(params, "img", layer, width))
    image = layer_norm(y[:, 0], visual.ln_post) @ visual.proj
    text, image = (one / one.norm(dim=-1, keepdim=True) for one in (text, image))
    return clip_model.logit_scale.exp() * image @ text.T
