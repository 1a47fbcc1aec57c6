"""What leaves this project of a trained model: images in, features and probabilities out, the text side folded in.

Shapes: B images, C classes, E joint width.
"""

import copy
from typing import Any, Tuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from modprompt.clips.cast import cast_products
from modprompt.engine.prompts import Additions
from modprompt.methods.model import PromptedModel
from modprompt.methods.search.supernet import Options, Slots


def _detached(additions: Additions) -> Additions:
    """The same without gradients, in memory of their own; of the vision side, where classes have no tokens."""

    def own(tensor: Any) -> Tensor:
        found: Tensor = tensor.detach().clone()
        return found

    found: Additions = []
    for one in additions:
        if isinstance(one, Options):
            found.append(Options(*map(own, one)))
        elif isinstance(one, Slots):
            found.append(Slots(None if one.new is None else own(one.new), own(one.bias)))
        else:
            found.append(None if one is None else own(one))
    return found


class ExportedModel(nn.Module):
    """A model's image encoder with its prompts, and what makes logits of its features; nothing is shared with it.

    Args:
        model: in float32, on the CPU.
        half: its matrices are float16; features, probabilities and what images are given as stay float32.

    Raises:
        UserError: if class features depend on the image.
    """

    def __init__(self, model: PromptedModel, half: bool = False):
        super().__init__()
        self.classifier = model.classifier().requires_grad_(False)
        with torch.no_grad():
            self.additions = _detached(model.vision_additions())
        self.encoder = copy.deepcopy(model.image_encoder)
        if half:
            cast_products(self.encoder, torch.float16)
            for part in self.encoder.modules():
                if isinstance(part, nn.BatchNorm2d):  # unlike a CLIP's layer norms these take the type of their input
                    part.half()
        self.eval()

    def forward(self, images: Tensor) -> Tuple[Tensor, Tensor]:
        """Unit features (B, E) and probabilities (B, C) of images (B, 3, H, W)."""
        features = self.encoder(images, self.additions).float()
        return F.normalize(features, dim=-1), self.classifier(features).softmax(dim=-1)
