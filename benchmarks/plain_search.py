"""The other side of `benchmarks.search`: DPL's search as the published implementation computes it.

One whole attention for every option of every layer, out-projection included; all 77 text positions of every class.
Same weights, same learner, same numbers.

Shapes: B images, C classes, L tokens, D width, n prompt tokens of an option.
"""

from collections.abc import Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from modprompt.clip.towers import CLIP, Block, VisionTransformer
from modprompt.engine.prompts import class_texts, embed_ids, tokenize
from modprompt.methods.search.learners import OptionsPromptLearner


class PlainSearch(nn.Module):
    """Logits of images over class prompts, mixed over options in every layer.

    Args:
        learner: its options and alphas are used.
        clip_model: a stock CLIP with a vision transformer.
        classnames: names of the classes.
    """

    def __init__(self, learner: OptionsPromptLearner, clip_model: CLIP, classnames: Sequence[str]) -> None:
        super().__init__()
        self.learner, self.clip_model = learner, clip_model
        self.visual = cast(VisionTransformer, clip_model.visual)
        ids = tokenize(class_texts(classnames, learner.prefix), classnames)
        length = ids.shape[1]
        self.words: Tensor
        self.end: Tensor
        self.ahead: Tensor
        self.register_buffer("words", embed_ids(ids, clip_model), persistent=False)  # (C, 77, D)
        self.register_buffer("end", ids.argmax(dim=-1), persistent=False)  # (C,)
        ahead = torch.full((length, length), float("-inf")).triu(1)
        self.register_buffer("ahead", ahead, persistent=False)

    def _mixed(self, side: str, blocks: Sequence[Block], x: Tensor, mask: Tensor | None = None) -> Tensor:
        """The output of all blocks of a side for x (L, B, D)."""
        for block, tokens, weights in zip(blocks, getattr(self.learner, f"{side}_options"), self.learner.weights(side)):
            options: list[Tensor] = [x.new_zeros(0, x.shape[-1]), *tokens]
            x = x + sum(weight * self._attended(block, x, own, mask) for weight, own in zip(weights, options))
            x = x + block.mlp(block.ln_2(x))
        return x

    @staticmethod
    def _attended(block: Block, x: Tensor, prompts: Tensor, mask: Tensor | None) -> Tensor:
        """The attention layer's output (L, B, D) for x, which attends to itself (masked) and all prompts (n, D)."""
        seen = torch.cat([x, prompts[:, None].expand(-1, x.shape[1], -1)])
        if mask is not None:
            mask = F.pad(mask, (0, len(prompts)))
        query, keys = block.ln_1(x), block.ln_1(seen)
        attended: Tensor = block.attn(query, keys, keys, need_weights=False, attn_mask=mask)[0]
        return attended

    def _text(self) -> Tensor:
        clip_model = self.clip_model
        x = (self.words + clip_model.positional_embedding).permute(1, 0, 2)  # (77, C, D)
        x = self._mixed("text", list(clip_model.transformer.resblocks), x, self.ahead)
        x = clip_model.ln_final(x.permute(1, 0, 2))
        return F.normalize(x[torch.arange(len(x)), self.end] @ clip_model.text_projection, dim=-1)

    def _image(self, image: Tensor) -> Tensor:
        visual = self.visual
        x = visual.conv1(image).flatten(2).permute(0, 2, 1)
        first = visual.class_embedding.expand(len(x), 1, -1)
        x = visual.ln_pre(torch.cat([first, x], dim=1) + visual.positional_embedding).permute(1, 0, 2)
        x = self._mixed("vision", list(visual.transformer.resblocks), x)
        return F.normalize(visual.ln_post(x[0]) @ visual.proj, dim=-1)

    def forward(self, image: Tensor) -> Tensor:
        """Logits (B, C) of images (B, 3, H, W)."""
        return self.clip_model.logit_scale.exp() * self._image(image) @ self._text().t()
