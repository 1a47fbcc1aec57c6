"""The other side of the benchmarks: MPL and CoCoOp as the published implementations compute them.

All 77 text positions of every class, every token in every layer, each block's own forward, and in evaluation the text
again with every batch. Same weights, same learners, same numbers.

Shapes: B images, C classes, L tokens, D width.
"""

import torch
import torch.nn.functional as F
from torch import nn

from modprompt.engine.prompts import class_texts, embed_ids, tokenize


class PlainCLIP(nn.Module):
    """Logits of images over class prompts, for the learners of MPL, MaPLe and CoCoOp.

    Args:
        learner: a prompt learner of this project; only its parameters are used.
        clip_model: a stock CLIP.
        classnames: names of the classes.
    """

    def __init__(self, learner: nn.Module, clip_model: nn.Module, classnames):
        super().__init__()
        self.learner, self.clip_model = learner, clip_model
        ids = tokenize(class_texts(classnames, learner.prefix), classnames)
        self.words, self.end = embed_ids(ids, clip_model), ids.argmax(dim=-1)  # (C, 77, T), (C,)
        self.conditional = hasattr(learner, "meta_net")

    def _text(self, ctx, deep) -> torch.Tensor:
        clip_model, n_ctx = self.clip_model, ctx.shape[0]
        ctx = ctx.expand(len(self.words), -1, -1)
        x = torch.cat([self.words[:, :1], ctx, self.words[:, 1 + n_ctx :]], dim=1) + clip_model.positional_embedding
        x = x.permute(1, 0, 2)  # (77, C, T)
        for layer, block in enumerate(clip_model.transformer.resblocks):
            if layer and deep[layer] is not None:
                new = deep[layer][:, None].expand(-1, x.shape[1], -1)
                x = torch.cat([x[:1], new, x[1 + n_ctx :]])
            x = block(x)
        x = clip_model.ln_final(x.permute(1, 0, 2))
        return F.normalize(x[torch.arange(len(x)), self.end] @ clip_model.text_projection, dim=-1)

    def _image(self, image, additions) -> torch.Tensor:
        visual, schedule = self.clip_model.visual, self.learner.schedules.vision
        x = visual.conv1(image).flatten(2).permute(0, 2, 1)
        first = visual.class_embedding + torch.zeros(x.shape[0], 1, x.shape[-1])
        x = torch.cat([first, x], dim=1) + visual.positional_embedding
        for layer, (block, step) in enumerate(zip(visual.transformer.resblocks, schedule)):
            dim = 1 if layer == 0 else 0
            if step.remove:
                x = x[: x.shape[0] - step.remove]
            if additions[layer] is not None:
                new = additions[layer]
                new = new.expand(x.shape[0], -1, -1) if layer == 0 else new[:, None].expand(-1, x.shape[1], -1)
                x = torch.cat([x, new], dim=dim)
            if layer == 0:
                x = visual.ln_pre(x).permute(1, 0, 2)
            x = block(x)
        x = visual.ln_post(x.permute(1, 0, 2)[:, 0])
        return F.normalize(x @ visual.proj, dim=-1)

    def forward(self, image) -> torch.Tensor:
        """Logits (B, C) of images (B, 3, H, W)."""
        learner, scale = self.learner, self.clip_model.logit_scale.exp()
        layers = len(self.clip_model.visual.transformer.resblocks)
        if self.conditional:
            features = self._image(image, [None] * layers)
            shift = learner.meta_net(features)
            text_layers = [None] * len(self.clip_model.transformer.resblocks)
            rows = [scale * self._text(learner.ctx + one, text_layers) @ f for one, f in zip(shift, features)]
            return torch.stack(rows)
        prompts = learner()
        text = self._text(learner.ctx, prompts.text_additions)
        return scale * self._image(image, prompts.vision_additions) @ text.t()
