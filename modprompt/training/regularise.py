"""PromptSRC's self-regularisation (arXiv 2307.06948): frozen features as teachers, and a Gaussian average over epochs.

Shapes: B images, C classes, E joint width.
"""

from typing import Dict, Mapping, NamedTuple, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from modprompt.engine.model import Output
from modprompt.errors import UserError
from modprompt.training.teacher import FrozenCLIP


class Weights(NamedTuple):
    """Weights of the three losses; PromptSRC's are 25, 10 and 1."""

    text: float
    image: float
    logits: float


def mean_class_features(frozen: FrozenCLIP, classnames: Sequence[str], templates: Sequence[str]) -> Tensor:
    """Normalised mean (C, E) of the class features of all templates, each as it comes out of the encoder."""
    total = sum(
        frozen.class_features(classnames, template).float()
        for template in tqdm(templates, desc="class features of all templates", leave=False)
    )
    return F.normalize(total / len(templates), dim=-1)


class SelfRegularisation:
    """What is added to the loss so that prompted features stay near the frozen ones (equations 3 to 5).

    Args:
        frozen: the CLIP without prompts.
        class_features: the frozen class features (C, E), normalised, float32.
        weights: of the losses on class features, on image features, and on logits.
    """

    def __init__(self, frozen: FrozenCLIP, class_features: Tensor, weights: Weights):
        self.frozen = frozen
        self.class_features = class_features
        self.weights = weights

    def __call__(self, output: Output, image: Tensor) -> Tensor:
        """Mean absolute distances of features, and the divergence of logits, of images (B, 3, H, W)."""
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


class GaussianAverage:
    """Average of the learner over epochs 1..N, epoch e weighted by the normal density N(e; mean, std), sum 1.

    Args:
        epochs: their number N.
        mean: of the density, in epochs.
        std: of the density, in epochs.

    Raises:
        UserError: if std is not positive.
    """

    def __init__(self, epochs: int, mean: float, std: float):
        if std <= 0:
            raise UserError(f"GPA_STD must be more than 0, got {std}")
        numbers = torch.arange(1, epochs + 1, dtype=torch.float64)
        self.weights = torch.softmax(-0.5 * ((numbers - mean) / std) ** 2, dim=0)
        self.epochs = 0  # that are in the sum
        self.total: Dict[str, Tensor] = {}

    def add(self, parameters: Mapping[str, Tensor]) -> None:
        """Add the parameters of the next epoch to the sum."""
        weight = self.weights[self.epochs].item()
        for name, value in parameters.items():
            weighted = weight * value.detach().float()
            self.total[name] = self.total[name].to(weighted.device) + weighted if self.epochs else weighted
        self.epochs += 1

    def load_into(self, learner: nn.Module) -> None:
        """Put the average in the place of the learner's parameters."""
        with torch.no_grad():
            for name, parameter in learner.named_parameters():
                parameter.copy_(self.total[name])

    def state_dict(self) -> Dict[str, object]:
        """What must be remembered to go on."""
        return {"epochs": self.epochs, "total": dict(self.total)}

    def load_state_dict(self, state: Mapping) -> None:
        """Take back what state_dict gave."""
        self.epochs, self.total = state["epochs"], dict(state["total"])
