"""MPL written down once more, slowly and without the engine: what the fast path must equal.

Straight from the method's description: 77 text positions, every class and token in every layer, one loop per layer,
attention by an explicit softmax. Plain dicts of tensors; nothing is imported from the package under test.
"""

import math
from collections import OrderedDict

import torch


def initial_parameters(clip_model, tokens, *, n_ctx, n_add, depth):
    """The trainable tensors, drawn from torch's generator in the reference's order; names as in its checkpoints."""
    width_text, width_vision = clip_model.ln_final.weight.shape[0], clip_model.visual.conv1.weight.shape[0]
    proj = torch.nn.Linear(width_text, width_vision)
    deep = [torch.nn.init.normal_(torch.empty(n_ctx, width_text), std=0.02) for _ in range(depth - 1)]
    bridge = torch.nn.Linear(width_text, width_vision)
    params = OrderedDict()
    params["ctx"] = clip_model.token_embedding.weight[tokens[0, 1 : 1 + n_ctx]].detach().clone()
    params["proj.weight"], params["proj.bias"] = proj.weight.detach().clone(), proj.bias.detach().clone()
    for i in range(depth - 1):
        params[f"compound_prompts_text.{i}"] = deep[i].clone()
        for j in range(n_add):
            params[f"txt2img_proj.{j}.{i}.weight"] = bridge.weight.detach().clone()
            params[f"txt2img_proj.{j}.{i}.bias"] = bridge.bias.detach().clone()
    return OrderedDict((name, value.requires_grad_(True)) for name, value in params.items())


def layer_norm(x, layer):
    mean = x.mean(-1, keepdim=True)
    var = ((x - mean) ** 2).mean(-1, keepdim=True)
    return (x - mean) / torch.sqrt(var + layer.eps) * layer.weight + layer.bias


def run_layer(x, block, heads, mask, change=None):
    """A block; a change (engine/layer_change.py) adds to its products and to what comes out."""
    x = x if change is None else change.enters(x)
    width, normal = x.shape[-1], layer_norm(x, block.ln_1)
    more = (lambda which, x: None) if change is None else change.product

    def plus(which, x, product):
        added = more(which, x)
        return product if added is None else product + added

    q, k, v = (normal @ block.attn.in_proj_weight.T + block.attn.in_proj_bias).split(width, dim=-1)
    q, k, v = plus("q", normal, q), plus("k", normal, k), plus("v", normal, v)
    outputs = []
    for h in range(heads):
        part = slice(h * width // heads, (h + 1) * width // heads)
        scores = q[..., part] @ k[..., part].transpose(1, 2) / math.sqrt(width // heads) + mask
        outputs.append(torch.softmax(scores, dim=-1) @ v[..., part])
    seen = torch.cat(outputs, dim=-1)
    x = x + plus("o", seen, seen @ block.attn.out_proj.weight.T + block.attn.out_proj.bias)
    hidden = layer_norm(x, block.ln_2) @ block.mlp.c_fc.weight.T + block.mlp.c_fc.bias
    hidden = hidden * torch.sigmoid(1.702 * hidden)
    x = x + hidden @ block.mlp.c_proj.weight.T + block.mlp.c_proj.bias
    return x if change is None else change.residual(x, normal)


def text_features(clip_model, params, tokens, *, n_ctx, depth, changes=()):
    """(C, E), not normalised; text prompts are replaced at positions 1..n_ctx before layers 1..depth-1."""
    n_cls, length = tokens.shape
    x = clip_model.token_embedding.weight[tokens].clone()
    x = torch.cat([x[:, :1], params["ctx"].expand(n_cls, -1, -1), x[:, 1 + n_ctx :]], dim=1)
    x = x + clip_model.positional_embedding
    mask = torch.full((length, length), -math.inf).triu(1)
    heads = clip_model.transformer.width // 64
    for i, block in enumerate(clip_model.transformer.resblocks):
        if 1 <= i < depth:
            new = params[f"compound_prompts_text.{i - 1}"].expand(n_cls, -1, -1)
            x = torch.cat([x[:, :1], new, x[:, 1 + n_ctx :]], dim=1)
        x = run_layer(x, block, heads, mask, changes[i] if changes else None)
    x = layer_norm(x, clip_model.ln_final)
    return x[torch.arange(n_cls), tokens.argmax(dim=1)] @ clip_model.text_projection


def image_features(clip_model, params, images, *, n_add, n_rm, depth, changes=()):
    """(B, E), not normalised; vision prompts stand at the end: the last n_rm go, n_add projections come."""
    visual = clip_model.visual
    patch, width = visual.conv1.weight.shape[-1], visual.conv1.weight.shape[0]
    tiles = images.unfold(2, patch, patch).unfold(3, patch, patch)  # (B, 3, h, w, p, p)
    tiles = tiles.permute(0, 2, 3, 1, 4, 5).flatten(3).flatten(1, 2)
    x = tiles @ visual.conv1.weight.flatten(1).T
    x = torch.cat([visual.class_embedding.expand(len(images), 1, width), x], dim=1) + visual.positional_embedding
    shallow = params["ctx"] @ params["proj.weight"].T + params["proj.bias"]
    x = torch.cat([x, shallow.expand(len(images), -1, -1)], dim=1)
    x = layer_norm(x, visual.ln_pre)
    for i, block in enumerate(visual.transformer.resblocks):
        if 1 <= i < depth:
            new = [
                params[f"compound_prompts_text.{i - 1}"] @ params[f"txt2img_proj.{j}.{i - 1}.weight"].T
                + params[f"txt2img_proj.{j}.{i - 1}.bias"]
                for j in range(n_add)
            ]
            x = torch.cat([x[:, : x.shape[1] - n_rm], torch.cat(new).expand(len(images), -1, -1)], dim=1)
        x = run_layer(x, block, width // 64, torch.zeros(()), changes[i] if changes else None)
    return layer_norm(x[:, 0], visual.ln_post) @ visual.proj


def logits_of_row(clip_model, params, tokens, images, name_lengths, changes=((), ())):
    """(B, C) under the settings of the rows of tests/methods.py."""
    return logits(clip_model, params, tokens, images, n_ctx=1, n_add=2, n_rm=1, depth=3, changes=changes)


def logits(clip_model, params, tokens, images, *, n_ctx, n_add, n_rm, depth, changes=((), ())):
    """(B, C); changes are those of the text side's layers and of the vision side's, or none."""
    text = text_features(clip_model, params, tokens, n_ctx=n_ctx, depth=depth, changes=changes[0])
    image = image_features(clip_model, params, images, n_add=n_add, n_rm=n_rm, depth=depth, changes=changes[1])
    text = text / text.norm(dim=-1, keepdim=True)
    image = image / image.norm(dim=-1, keepdim=True)
    return clip_model.logit_scale.exp() * image @ text.T
