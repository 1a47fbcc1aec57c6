"""The image side of a tower with prompt tokens put in by a schedule, run from its package's weights.

Shapes: B images, L tokens, D width of the side, E joint width, n prompt tokens.
"""

import torch
from torch import Tensor, nn

from modprompt.clip.towers import Tower, prompted_image
from modprompt.engine.image_layers import Watch, through_layers
from modprompt.engine.layer_change import Changes
from modprompt.engine.prompts import Additions
from modprompt.engine.schedule import Schedule
from modprompt.engine.weight_cache import normalise


class TowerVisionEncoder(nn.Module):
    """Image features of a tower; prompt tokens stand after the patches, without positions.

    They pass through all blocks and are cut off before the last normalisation and the pool, which would read them: in a
    stock CLIP no feature is read at a prompt token either.

    Args:
        visual: an image tower into which prompts can go.
        schedule: of the vision side.
        stream: type of the tokens between products; None for that of the weights.
    """

    def __init__(self, visual: Tower, schedule: Schedule, stream: torch.dtype | None = None):
        super().__init__()
        self.visual = visual
        self.side = prompted_image(visual)
        self.schedule = schedule
        self.stream = stream

    @property
    def feature_type(self) -> torch.dtype:
        """The type of the features."""
        return self.visual.feature_type

    def _embed(self, image: Tensor) -> Tensor:
        side = self.side
        patches: Tensor = side.conv1(image.to(side.conv1.weight.dtype)).flatten(2).transpose(1, 2)
        x = patches.to(self.stream or self.feature_type)
        positions: Tensor = side.positional_embedding
        return x + positions.to(x.dtype)

    def forward(self, image: Tensor, additions: Additions, changes: Changes = (), watch: Watch | None = None) -> Tensor:
        """Features (B, E) of images (B, 3, H, W).

        Args:
            image: of the size that the weights' positions have.
            additions: one (n, D) tensor or None per layer.
            changes: of each layer, or none.
            watch: the attention of a layer, and what is run in its place.
        """
        with self.visual.autocast(image.device):
            return self._features(image, additions, changes, watch).to(self.feature_type)

    def _features(self, image: Tensor, additions: Additions, changes: Changes, watch: Watch | None) -> Tensor:
        side, x = self.side, self._embed(image)
        behind = through_layers(side, x, self.schedule, additions, changes, watch)
        features: Tensor = side.pool(normalise(side.ln_post, behind[:, : x.shape[1]]))
        return features
