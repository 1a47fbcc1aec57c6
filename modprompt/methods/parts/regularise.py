"""PromptSRC's self-regularisation (arXiv 2307.06948): frozen features as teachers.

Shapes: B images, C classes, E joint width.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from modprompt.engine.model import Output
from modprompt.methods.parts.teacher import FrozenCLIP


class Weights(NamedTuple):
    """Weights of the three losses; PromptSRC's are 25, 10 and 1."""

    text: float
    image: float
    logits: float


def mean_class_features(frozen: FrozenCLIP, classnames: Sequence[str], templates: Sequence[str]) -> Tensor:
    """Normalised mean (C, E) of the class features of all templates, which are not normalised themselves."""
    silent = True if len(templates) == 1 else None
    each = tqdm(templates, desc="class features of all templates", leave=False, disable=silent)
    total = sum((frozen.class_features(classnames, template).float() for template in each), torch.zeros(()))
    return F.normalize(total / len(templates), dim=-1)


class SelfRegularisation:
    """A loss that keeps prompted features near the frozen ones (equations 3 to 5).

    Args:
        frozen: the CLIP without prompts.
        class_features: the frozen class features (C, E), normalised, float32.
        weights: of the losses on class features, on image features, and on logits.
    """

    def __init__(self, frozen: FrozenCLIP, class_features: Tensor, weights: Weights):
        self.frozen = frozen
        self.class_features = class_features
        self.weights = weights

    def set_stream(self, stream: torch.dtype | None) -> None:
        """Set the type of the teacher's tokens between products, as in the prompted model."""
        self.frozen.set_stream(stream)

    def __call__(self, output: Output, image: Tensor, labels: Tensor) -> Tensor:
        """Mean absolute distances of features, and the divergence of logits, of images (B, 3, H, W)."""
        self.class_features = self.class_features.to(output.text.device)
        teacher = F.normalize(self.frozen.encode_image(image).float(), dim=-1)  # (B, E)
        text = F.l1_loss(output.text.float(), self.class_features)
        features = F.l1_loss(output.image.float(), teacher)
        goal = self.frozen.clip_model.logit_scale.exp().float() * teacher @ self.class_features.t()  # (B, C)
        divergence = F.kl_div(
            F.log_softmax(output.logits.float(), dim=1),
            F.log_softmax(goal, dim=1),
            reduction="sum",
            log_target=True,
        )
        text_weight, image_weight, logits_weight = self.weights
        return text_weight * text + image_weight * features + logits_weight * divergence / output.logits.numel()
