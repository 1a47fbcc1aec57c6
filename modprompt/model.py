"""A frozen CLIP with a prompt learner in front: the model that prompt learning trains."""

import contextlib
from typing import Optional

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from modprompt.encoders import TextEncoder, VisionEncoder


class PromptedCLIP(nn.Module):
    """Logits of images over class prompts; only the prompt learner has trainable parameters.

    Args:
        prompt_learner: a module whose call gives `text`, `end`, `text_additions`, `vision_additions`, and whose
            `schedules` are a (text, vision) pair.
        clip_model: a stock CLIP; its parameters are frozen here.
    """

    def __init__(self, prompt_learner: nn.Module, clip_model: nn.Module):
        super().__init__()
        clip_model.requires_grad_(False)
        self.prompt_learner = prompt_learner
        self.image_encoder = VisionEncoder(clip_model.visual, prompt_learner.schedules.vision)
        self.text_encoder = TextEncoder(clip_model, prompt_learner.schedules.text)
        self.logit_scale = clip_model.logit_scale
        self._fixed_text: Optional[Tensor] = None

    def _text_features(self, prompts) -> Tensor:
        if self._fixed_text is not None:
            return self._fixed_text
        return F.normalize(self.text_encoder(prompts.text, prompts.end, prompts.text_additions), dim=-1)

    def forward(self, image: Tensor) -> Tensor:
        """Logits (B, C) = exp(logit_scale) * cosine of images (B, 3, H, W) and classes (CLIP, arXiv 2103.00020)."""
        prompts = self.prompt_learner()
        text = self._text_features(prompts)  # (C, E)
        image = F.normalize(self.image_encoder(image, prompts.vision_additions), dim=-1)  # (B, E)
        return self.logit_scale.exp() * image @ text.t()

    @contextlib.contextmanager
    def fixed_text(self):
        """Within it the class features are computed once and kept: for evaluation, where prompts do not change."""
        with torch.no_grad():
            self._fixed_text = self._text_features(self.prompt_learner())
        try:
            yield
        finally:
            self._fixed_text = None
