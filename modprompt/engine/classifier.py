"""What stands behind the image side once class features are finished: a module from image features to logits.

Shapes: B images, C classes, E joint width.
"""

import torch.nn.functional as F
from torch import Tensor, nn


class CosineClassifier(nn.Module):
    """CLIP's own: cosines of image and class features, scaled.

    Args:
        classes: class features (C, E) of length 1.
        scale: exp(logit_scale), a scalar.
    """

    classes: Tensor
    scale: Tensor

    def __init__(self, classes: Tensor, scale: Tensor):
        super().__init__()
        self.register_buffer("classes", classes.t().contiguous())
        self.register_buffer("scale", scale)

    def forward(self, image: Tensor) -> Tensor:
        """Logits (B, C) of raw image features (B, E)."""
        return self.scale * F.normalize(image, dim=-1) @ self.classes
