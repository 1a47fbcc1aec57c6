"""Class features held near frozen ones (KgCoOp, arXiv 2303.13283, equation 4).

Shapes: B images, C classes, E joint width.
"""

import torch.nn.functional as F
from torch import Tensor

from modprompt.engine.model import Output

EPS = 1e-7  # the least product of two lengths, as the reference has it


class ClassTeacher:
    """One minus the mean cosine of the class features and the frozen ones, over all classes, in the batch or not.

    Args:
        class_features: the frozen class features (C, E), normalised, float32.
    """

    def __init__(self, class_features: Tensor):
        self.class_features = class_features

    def __call__(self, output: Output, images: Tensor, labels: Tensor) -> Tensor:
        """From 0, all alike, to 2; where class features depend on the image (B, C, E) the mean over images too."""
        self.class_features = self.class_features.to(output.text.device)
        return 1 - F.cosine_similarity(output.text.float(), self.class_features, dim=-1, eps=EPS).mean()
