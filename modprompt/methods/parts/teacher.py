"""CLIP without learned prompts: class features from templates, and image features.

Shapes: C classes, E joint width.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from modprompt.clip.build import layers_of
from modprompt.clip.towers import CLIP, text_width
from modprompt.engine.class_prompts import class_prompts
from modprompt.engine.encoders import image_encoder, text_encoder
from modprompt.engine.prompts import template_texts
from modprompt.engine.schedule import no_prompts


class FrozenCLIP(nn.Module):
    """A stock CLIP's image encoder, and class features from a template.

    Args:
        clip_model: a stock CLIP; its parameters are frozen here.
        stream: type of the tokens between products; None for that of the weights.
    """

    def __init__(self, clip_model: CLIP, stream: torch.dtype | None = None):
        super().__init__()
        clip_model.requires_grad_(False)
        self.clip_model = clip_model
        self.text_layers, self.vision_layers = layers_of(clip_model)
        self.image_encoder = image_encoder(clip_model.visual, no_prompts(self.vision_layers), stream)
        self.text_encoder = text_encoder(clip_model, no_prompts(self.text_layers, "text"), stream)

    def set_stream(self, stream: torch.dtype | None) -> None:
        """Set the type of the tokens between products; None for that of the weights."""
        self.image_encoder.stream = self.text_encoder.stream = stream

    @torch.no_grad()
    def encode_image(self, image: Tensor) -> Tensor:
        """(B, E) of images (B, 3, H, W), not normalised."""
        features: Tensor = self.image_encoder(image, [None] * self.vision_layers)
        return features

    def class_features(self, classnames: Sequence[str], template: str) -> Tensor:
        """(C, E) of class names put into a template like "a photo of a {}.", not normalised.

        Raises:
            UserError: if a prompt is longer than the text context.
        """
        return self.text_features(template_texts(classnames, template), classnames)

    @torch.no_grad()
    def text_features(self, texts: Sequence[str], labels: Sequence[str] = ()) -> Tensor:
        """(N, E) of N texts, not normalised; messages name each by its label, or else by the text.

        Raises:
            UserError: if one is longer than the text context.
        """
        fixed = class_prompts(texts, labels or texts, 0, self.clip_model).to(self.clip_model.logit_scale.device)
        kind, device = self.clip_model.dtype, self.text_encoder.device
        nothing = torch.empty(0, text_width(self.clip_model), dtype=kind, device=device)
        features: Tensor = self.text_encoder(fixed(nothing), [None] * self.text_layers)  # (1, C, E)
        return features[0]
