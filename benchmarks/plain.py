"""The other side of the benchmarks: MPL, MaPLe, CoOp and CoCoOp as the published implementations compute them.

All 77 text positions of every class, every token in every layer, each block's own forward, and in evaluation the text
again with every batch. Same weights, same learners, same numbers.

Shapes: B images, C classes, L tokens, D width.
"""

from collections.abc import Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from modprompt.clip.towers import CLIP, VisionTransformer
from modprompt.engine.prompts import class_texts, embed_ids, tokenize
from modprompt.methods.cocoop import ConditionalPromptLearner
from modprompt.methods.parts.learners import CoupledPromptLearner, IndependentPromptLearner

Learner = CoupledPromptLearner | IndependentPromptLearner


class PlainCLIP(nn.Module):
    """Logits of images over class prompts, for the learners of MPL, MaPLe, CoOp and CoCoOp.

    It computes in the type of CLIP's matrices, as the published implementations do.

    Args:
        learner: a prompt learner of this project; only its parameters are used. A context is before the name, and the
            same for all classes.
        clip_model: a stock CLIP.
        classnames: names of the classes.
    """

    def __init__(self, learner: Learner, clip_model: CLIP, classnames: Sequence[str]) -> None:
        super().__init__()
        self.learner, self.clip_model = learner, clip_model
        self.visual = cast(VisionTransformer, clip_model.visual)  # these methods put prompts into it
        ids = tokenize(class_texts(classnames, learner.prefix), classnames)
        self.words: Tensor
        self.end: Tensor
        self.register_buffer("words", embed_ids(ids, clip_model), persistent=False)  # (C, 77, T)
        self.register_buffer("end", ids.argmax(dim=-1), persistent=False)  # (C,)

    def _text(self, ctx: Tensor, deep: Sequence[Any]) -> Tensor:
        clip_model, n_ctx = self.clip_model, ctx.shape[0]
        ctx = ctx.expand(len(self.words), -1, -1)
        x = torch.cat([self.words[:, :1], ctx, self.words[:, 1 + n_ctx :]], dim=1)
        x = (x + clip_model.positional_embedding.to(x.dtype)).permute(1, 0, 2)  # (77, C, T)
        for layer, block in enumerate(clip_model.transformer.resblocks):
            added = deep[layer]
            if layer and added is not None:
                new = added[:, None].expand(-1, x.shape[1], -1).to(x.dtype)
                x = torch.cat([x[:1], new, x[1 + n_ctx :]])
            x = block(x)
        x = clip_model.ln_final(x.permute(1, 0, 2))
        return F.normalize(x[torch.arange(len(x)), self.end] @ clip_model.text_projection, dim=-1)

    def _image(self, image: Tensor, additions: Sequence[Any]) -> Tensor:
        visual, schedule = self.visual, self.learner.schedules.vision
        x = visual.conv1(image.to(visual.conv1.weight.dtype)).flatten(2).permute(0, 2, 1)
        first = visual.class_embedding.to(x.dtype).expand(len(x), 1, -1)
        x = torch.cat([first, x], dim=1) + visual.positional_embedding.to(x.dtype)
        for layer, (block, step) in enumerate(zip(visual.transformer.resblocks, schedule)):
            dim = 1 if layer == 0 else 0
            if step.remove:
                x = x[: x.shape[0] - step.remove]
            new = additions[layer]
            if new is not None:
                new = new.expand(x.shape[0], -1, -1) if layer == 0 else new[:, None].expand(-1, x.shape[1], -1)
                x = torch.cat([x, new.to(x.dtype)], dim=dim)
            if layer == 0:
                x = visual.ln_pre(x).permute(1, 0, 2)
            x = block(x)
        x = visual.ln_post(x.permute(1, 0, 2)[:, 0])
        return F.normalize(x @ visual.proj, dim=-1)

    def forward(self, image: Tensor) -> Tensor:
        """Logits (B, C) of images (B, 3, H, W)."""
        learner, scale = self.learner, self.clip_model.logit_scale.exp()
        layers = len(self.visual.transformer.resblocks)
        if isinstance(learner, ConditionalPromptLearner):
            features = self._image(image, [None] * layers)
            shift = learner.meta_net(features)
            text_layers: Sequence[Any] = [None] * len(self.clip_model.transformer.resblocks)
            rows = [scale * self._text(learner.ctx + one, text_layers) @ f for one, f in zip(shift, features)]
            return torch.stack(rows)
        prompts = learner()
        text = self._text(learner.ctx, prompts.text_additions)
        return scale * self._image(image, prompts.vision_additions) @ text.t()
