"""A frozen CLIP with a prompt learner in front: the model that prompt learning trains.

Shapes: B images, C classes, E joint width.
"""

import contextlib
from typing import NamedTuple, Optional

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from modprompt.checks import one_of
from modprompt.engine.encoders import TextEncoder, image_encoder
from modprompt.engine.memory import free_bytes, most_text_tokens
from modprompt.engine.prompts import Prompts
from modprompt.errors import UserError

COMPILE = ("", "default", "reduce-overhead", "aot_eager")


class Output(NamedTuple):
    """What a model makes of images: logits (B, C), normalised image features (B, E) and class features.

    Class features are (C, E), or (B, C, E) where they depend on the image.
    """

    logits: Tensor
    image: Tensor
    text: Tensor


class PromptedCLIP(nn.Module):
    """Logits of images over class prompts; only the prompt learner has trainable parameters.

    Args:
        prompt_learner: a module whose call gives Prompts; its `schedules` are those of both sides, and `trains_text`
            says whether class features change in training (if not they are computed once).
        clip_model: a stock CLIP; its parameters are frozen here.
        stream: type of the tokens between products and of all that comes after; None for that of the weights.
    """

    def __init__(self, prompt_learner: nn.Module, clip_model: nn.Module, stream: Optional[torch.dtype] = None):
        super().__init__()
        clip_model.requires_grad_(False)
        self.prompt_learner = prompt_learner
        self.image_encoder = image_encoder(clip_model.visual, prompt_learner.schedules.vision, stream)
        self.text_encoder = TextEncoder(clip_model, prompt_learner.schedules.text, stream)
        self.stream = stream
        self.logit_scale = clip_model.logit_scale
        self._fixed_text: Optional[Tensor] = None
        self._fixed_prompts: Optional[Prompts] = None

    def limit_text(self, classes: int = 0) -> None:
        """Compute the text side of so many classes at a time, or with 0 of as many as free memory allows.

        With more classes than that, the backward pass computes each part again instead of keeping it.
        """
        encoder, text = self.text_encoder, self.prompt_learner.prompt_text
        table = encoder.positional_embedding
        if classes:
            encoder.most_tokens = classes * max(group.length for group in text.groups)
        else:
            layers, width = len(encoder.transformer.resblocks), table.shape[1]
            itemsize = text.words.element_size()
            encoder.most_tokens = most_text_tokens(layers, width, itemsize, free_bytes(table.device))

    def compile_encoders(self, how: str) -> None:
        """Run both encoders through torch.compile.

        Args:
            how: "default" or "reduce-overhead" (CUDA graphs), which need a C++ compiler; "aot_eager", which does not
                and is not faster; or "" for nothing.

        Raises:
            UserError: on another word, or where PyTorch has no compiler.
        """
        one_of("MODEL.COMPILE", how, COMPILE)
        if not how:
            return
        if not hasattr(torch, "compile"):
            raise UserError(f"MODEL.COMPILE {how}: this PyTorch ({torch.__version__}) has no torch.compile")
        settings = {"backend": how} if how == "aot_eager" else {"mode": how}
        for encoder in (self.image_encoder, self.text_encoder):
            encoder.forward = torch.compile(encoder.forward, **settings)

    def train(self, mode: bool = True):
        """Set the learner's mode; CLIP is frozen, the batch statistics of a ResNet too."""
        self.training = mode
        self.prompt_learner.train(mode)
        return self

    def _unit(self, features: Tensor) -> Tensor:
        return F.normalize(features.to(self.stream or features.dtype), dim=-1)

    def _text_features(self, prompts) -> Tensor:
        if self._fixed_text is not None:
            return self._fixed_text
        text = self._unit(self.text_encoder(prompts.text, prompts.text_additions))[0]
        if not self.prompt_learner.trains_text:
            self._fixed_text = text
        return text

    def output(self, image: Tensor) -> Output:
        """Logits and features of images (B, 3, H, W) (CLIP, arXiv 2103.00020): exp(logit_scale) * cosine."""
        prompts = self._prompts()
        return self._output(self.image_encoder(image, prompts.vision_additions), prompts)

    def _prompts(self) -> Prompts:
        return self.prompt_learner() if self._fixed_prompts is None else self._fixed_prompts

    def _output(self, features: Tensor, prompts) -> Output:
        text, features = self._text_features(prompts), self._unit(features)  # (C, E), (B, E)
        return Output(self.logit_scale.exp() * features @ text.t(), features, text)

    def encode_image(self, image: Tensor) -> Tensor:
        """Features (B, E) of images (B, 3, H, W) without vision prompts, not normalised."""
        return self.image_encoder(image, [None] * len(self.prompt_learner.schedules.vision))

    def of_features(self, features: Tensor) -> Output:
        """As `output`, of what encode_image gave; for learners without vision prompts."""
        return self._output(features, self._prompts())

    def forward(self, image: Tensor) -> Tensor:
        """Logits (B, C) of images (B, 3, H, W)."""
        return self.output(image).logits

    @contextlib.contextmanager
    def fixed_text(self):
        """Within it prompts and class features are computed once and kept: for evaluation, where they do not change."""
        before = self._fixed_text, self._fixed_prompts
        with torch.no_grad():
            self._fixed_prompts = self.prompt_learner()
            self._fixed_text = self._text_features(self._fixed_prompts)
        try:
            yield
        finally:
            self._fixed_text, self._fixed_prompts = before


class ConditionalCLIP(PromptedCLIP):
    """A prompted CLIP whose class prompts depend on the image; the learner's call takes image features."""

    def output(self, image: Tensor) -> Output:
        """Logits and features of images (B, 3, H, W); every image has class features of its own."""
        return self.of_features(self.encode_image(image))

    def of_features(self, features: Tensor) -> Output:
        """As `output`, of what encode_image gave."""
        features = self._unit(features)  # (B, E)
        prompts = self.prompt_learner(features)
        text = self._unit(self.text_encoder(prompts.text, prompts.text_additions))  # (B, C, E)
        logits = self.logit_scale.exp() * (text @ features[:, :, None])[:, :, 0]  # (B, C)
        return Output(logits, features, text)

    def fixed_text(self):
        """Nothing can be kept: class features differ from image to image."""
        return contextlib.nullcontext()
