"""What follows the image side once class features are known: a module from image features to logits.

Shapes: B images, C classes, E joint width.
"""

import copy
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from modprompt.engine.model import PromptedCLIP, beside


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


class JointClassifier(nn.Module):
    """Scaled cosines together with the logits of a joint head (methods/dept.py).

    Args:
        cosines: computes the former.
        head: the joint head; copied to the CPU, in float32.
        classes: raw class features (C, E).
    """

    classes: Tensor

    def __init__(self, cosines: CosineClassifier, head: Any, classes: Tensor):
        super().__init__()
        self.cosines, self.head = cosines, copy.deepcopy(head).cpu().float()
        self.register_buffer("classes", classes.detach().float().cpu().clone())

    def forward(self, image: Tensor) -> Tensor:
        """Logits (B, C) of raw image features (B, E)."""
        each = self.head.each(image, self.classes, self.cosines(image), self.cosines.scale)
        logits: Tensor = self.head.made_of(each)
        return logits


class OwnClassifier(nn.Module):
    """A model's own logits, where these are not scaled cosines.

    Args:
        model: its own parts are copied, in float32, without encoders and CLIP.
        classes: class features (C, E), as its `logits` accepts them, on the CPU.
    """

    classes: Tensor

    def __init__(self, model: PromptedCLIP, classes: Tensor):
        super().__init__()
        own: Any = beside(model)
        own.__dict__.pop("clip_model", None)
        own.__dict__.update(_exact=None, _objective=None)
        for name in ("image_encoder", "text_encoder"):
            del own._modules[name]
        self.model = copy.deepcopy(own)
        for one in (*self.model.parameters(), *self.model.buffers()):  # a model's own casts are those of its CLIP
            one.data = one.data.cpu().float() if one.is_floating_point() else one.data.cpu()
        self.register_buffer("classes", classes)

    def forward(self, image: Tensor) -> Tensor:
        """Logits (B, C) of raw image features (B, E)."""
        logits: Tensor = self.model.logits(self.model.unit_image(image), self.classes)
        return logits
