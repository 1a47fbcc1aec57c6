"""SigLIP's image side with prompt tokens put in by a schedule, run from its package's weights.

The text side is whole_text.py's.

Shapes: B images, L patches, D width of the side, E joint width, n prompt tokens.
"""

from typing import Callable, Optional, cast

import torch
from torch import Tensor, nn

from modprompt.clip.siglip import ImageSide
from modprompt.engine.additions import attends, in_type, new_tokens, step_of
from modprompt.engine.blocks import Attend, run_block
from modprompt.engine.prompts import Additions
from modprompt.engine.schedule import Schedule
from modprompt.engine.token_updates import renew
from modprompt.engine.weight_cache import normalise


class SiglipVisionEncoder(nn.Module):
    """Image features of a SigLIP; prompt tokens stand behind the patches, without positions.

    They take part in all blocks and are cut off before the last normalisation and the pool, which would read them:
    no feature of a stock CLIP is read at a prompt token either. Where the schedule places them means nothing here.

    Args:
        visual: the image side.
        schedule: of the vision side.
        stream: type of the tokens between products; None for that of the weights.
    """

    def __init__(self, visual: ImageSide, schedule: Schedule, stream: Optional[torch.dtype] = None):
        super().__init__()
        self.visual = visual
        self.schedule = schedule
        self.stream = stream

    @property
    def feature_type(self) -> torch.dtype:
        """The type of the features."""
        return self.visual.conv1.weight.dtype

    def _embed(self, image: Tensor) -> Tensor:
        visual = self.visual
        patches: Tensor = visual.conv1(image.to(visual.conv1.weight.dtype)).flatten(2).transpose(1, 2)  # (B, L, D)
        x = patches.to(self.stream or patches.dtype)
        return x + visual.positional_embedding.to(x.dtype)

    def forward(
        self, image: Tensor, additions: Additions, watch: Optional[Callable[[int, Attend], Attend]] = None
    ) -> Tensor:
        """Features (B, E) of images (B, 3, H, W).

        Args:
            image: they must have the size of the weights' positions.
            additions: one (n, D) tensor or None per layer.
            watch: the attention of a layer, and what is run in its place.
        """
        visual = self.visual
        x = self._embed(image)
        patches, present = x.shape[1], 0
        additions = in_type(additions, x.dtype)
        for layer, (block, new) in enumerate(zip(visual.transformer.resblocks, additions)):
            step = step_of(new, self.schedule[layer])
            joins = cast(Optional[Tensor], new_tokens(new))  # images have no tokens of single classes
            x = renew(x, patches, present, step.remove, joins)
            present += step.add - step.remove
            attend = attends(block, new, patches)
            x = run_block(block, x, attend=attend if watch is None else watch(layer, attend))
        features: Tensor = visual.pool(normalise(visual.ln_post, x[:, :patches]))
        return features
