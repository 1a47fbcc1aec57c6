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
from modprompt.engine.relaxed import Options, Slots
from modprompt.errors import UserError
from modprompt.methods.model import PromptedModel


def class_matrix(model: PromptedModel) -> Tensor:
    """The finished class features (C, E) of a model.

    Raises:
        UserError: if they depend on the image.
    """
    if model.prompt_learner.needs_image:
        raise UserError(
            f"{type(model.method).__name__} makes the class prompts of each image anew, so that there is no class "
            "matrix to export: use it through modprompt.load"
        )
    with torch.no_grad():
        return model.class_features().detach().float().cpu().clone()


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
    """A model's image encoder with its prompts, its class matrix and its logit scale; nothing is shared with it.

    Args:
        model: in float32, on the CPU.
        half: its matrices are float16; features, probabilities and what images are given as stay float32.

    Raises:
        UserError: as class_matrix.
    """

    classes: Tensor
    scale: Tensor

    def __init__(self, model: PromptedModel, half: bool = False):
        super().__init__()
        matrix = class_matrix(model)
        with torch.no_grad():
            self.additions = _detached(model.vision_additions())
            self.register_buffer("classes", matrix.t().contiguous())
            self.register_buffer("scale", model.logit_scale.detach().float().exp())
        self.encoder = copy.deepcopy(model.image_encoder)
        if half:
            cast_products(self.encoder, torch.float16)
            for part in self.encoder.modules():
                if isinstance(part, nn.BatchNorm2d):  # unlike a CLIP's layer norms these take the type of their input
                    part.half()
        self.eval()

    def forward(self, images: Tensor) -> Tuple[Tensor, Tensor]:
        """Unit features (B, E) and probabilities (B, C) of images (B, 3, H, W)."""
        features = F.normalize(self.encoder(images, self.additions).float(), dim=-1)
        return features, (self.scale * features @ self.classes).softmax(dim=-1)
