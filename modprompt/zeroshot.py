"""CLIP without prompts to learn: class features from templates, image features as they are.

Shapes: C classes, E joint width.
"""

from typing import Sequence

import torch
from torch import Tensor, nn

from modprompt.backbone import layers_of
from modprompt.encoders import TextEncoder, image_encoder
from modprompt.prompts import embed, readable
from modprompt.schedule import no_prompts


class FrozenCLIP(nn.Module):
    """A stock CLIP's image encoder, and class features from a template."""

    def __init__(self, clip_model: nn.Module):
        super().__init__()
        clip_model.requires_grad_(False)
        self.clip_model = clip_model
        self.text_layers, self.vision_layers = layers_of(clip_model)
        self.image_encoder = image_encoder(clip_model.visual, no_prompts(self.vision_layers))
        self.text_encoder = TextEncoder(clip_model, no_prompts(self.text_layers, "text"))

    @torch.no_grad()
    def image_features(self, image: Tensor) -> Tensor:
        """(B, E) of images (B, 3, H, W), not normalised."""
        return self.image_encoder(image, [None] * self.vision_layers)

    @torch.no_grad()
    def class_features(self, classnames: Sequence[str], template: str) -> Tensor:
        """(C, E) of class names put into a template like "a photo of a {}.", not normalised.

        Raises:
            UserError: if a prompt is longer than the text context.
        """
        names = [readable(name) for name in classnames]
        prompts = embed([template.replace("{}", name) for name in names], names, self.clip_model)
        return self.text_encoder(prompts.embedding, prompts.end, [None] * self.text_layers)
