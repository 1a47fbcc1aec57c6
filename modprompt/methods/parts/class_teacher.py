"""Frozen class features of one template as teachers: of class features (KgCoOp), of logits (ProGrad).

Shapes: B images, C classes, E joint width.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from modprompt.engine.model import Output
from modprompt.methods.parts.teacher import FrozenCLIP

EPS = 1e-7  # the least product of two lengths, as in the reference


class ClassTeacher:
    """One minus the mean cosine of the class features and the frozen ones, over all classes, in the batch or not.

    KgCoOp (arXiv 2303.13283), equation 4.

    Args:
        class_features: the frozen class features (C, E), normalised, float32.
    """

    def __init__(self, class_features: Tensor):
        self.class_features = class_features

    def __call__(self, output: Output, images: Tensor, labels: Tensor) -> Tensor:
        """From 0, all alike, to 2; where class features depend on the image (B, C, E), the mean over images too."""
        self.class_features = self.class_features.to(output.text.device)
        return 1 - F.cosine_similarity(output.text.float(), self.class_features, dim=-1, eps=EPS).mean()


class LogitsTeacher:
    """The cross entropy of the logits and the frozen CLIP's, as probabilities, at a temperature T, times T squared.

    ProGrad (arXiv 2205.14865), equation 3, without the teacher's entropy, which is constant.

    Args:
        class_features: the frozen class features (C, E), normalised, float32.
        logit_scale: CLIP's.
        temperature: T.
        frozen: computes the teacher's image features; None for the model's own, equal to them without vision prompts.
    """

    def __init__(
        self, class_features: Tensor, logit_scale: Tensor, temperature: float, frozen: FrozenCLIP | None = None
    ):
        self.class_features = class_features
        self.logit_scale = logit_scale
        self.temperature = temperature
        self.frozen = frozen

    def set_stream(self, stream: torch.dtype | None) -> None:
        """Set the type of the teacher's tokens between products, as in the prompted model."""
        if self.frozen is not None:
            self.frozen.set_stream(stream)

    def __call__(self, output: Output, images: Tensor, labels: Tensor) -> Tensor:
        """For images (B, 3, H, W); the mean over the batch."""
        image = output.image.detach().float()
        if self.frozen is not None:
            image = F.normalize(self.frozen.encode_image(images).float(), dim=-1)
        self.class_features = self.class_features.to(image.device)
        goal = self.logit_scale.detach().exp().float() * image @ self.class_features.t()  # (B, C)
        said = F.log_softmax(output.logits.float() / self.temperature, dim=-1)
        entropies = -(F.softmax(goal / self.temperature, dim=-1) * said).sum(dim=-1)  # (B,)
        return self.temperature**2 * entropies.mean()
