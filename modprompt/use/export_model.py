"""The exported form of a trained model: from images to features and probabilities, with class features built in.

Shapes: B images, C classes, E joint width.
"""

import copy
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from modprompt.clip.cast import cast_products
from modprompt.engine.additions import mapped
from modprompt.engine.encoders import no_additions
from modprompt.engine.layer_change import write_in
from modprompt.engine.model import blended
from modprompt.methods.model import PromptedModel


class ExportedModel(nn.Module):
    """A model's image encoder with its prompts, and the classifier of its features; copied from the model.

    If the model blends its features with frozen ones, it has the encoder of these, too: images go through both.

    Args:
        model: in float32, on the CPU.
        half: whether matrices are float16; images, features and probabilities stay float32.

    Raises:
        UserError: if class features depend on the image.
    """

    def __init__(self, model: PromptedModel, half: bool = False):
        super().__init__()
        self.classifier = model.classifier().requires_grad_(False)
        with model.as_tested(), torch.no_grad():
            prompts = model.vision_prompts()
            self.additions = [mapped(one, _apart) for one in prompts.vision_additions]
            self.changes = copy.deepcopy(prompts.vision_changes)
            self.more = (None, prompts.read.map(_apart)) if model.reads and prompts.read is not None else ()
        self.projection = model.projection()
        self.encoder, self.frozen = copy.deepcopy((model.image_encoder, model.frozen_encoder))  # shared weights once
        if any(one is not None and one.merges for one in self.changes):  # only on stock sides
            visual: Any = self.encoder.visual
            self.changes = write_in(visual.transformer.resblocks, self.changes)
        if half:
            encoders = nn.ModuleList([self.encoder, *([] if self.frozen is None else [self.frozen])])
            cast_products(encoders, torch.float16)
            for part in encoders.modules():
                if isinstance(part, nn.BatchNorm2d):  # unlike a CLIP's layer norms these need the type of their input
                    part.half()
        self.eval()

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Unit features (B, E) and probabilities (B, C) of images (B, 3, H, W)."""
        features = self.encoder(images, self.additions, self.changes, *self.more).float()
        if self.frozen is not None:
            frozen = self.frozen(images, no_additions(self.frozen)).float()
            features = blended(features, F.normalize(frozen, dim=-1))
        own = features.chunk(2, dim=-1)[0] if self.more else features  # the second half is what is read out
        own = own if self.projection is None else self.projection(own)
        return F.normalize(own, dim=-1), self.classifier(features).softmax(dim=-1)


def _apart(tensor: Tensor) -> Tensor:
    return tensor.detach().clone()
