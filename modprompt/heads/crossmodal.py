"""Texts as training samples beside images (CrossModal, arXiv 2301.06267, as CLAP's authors run it).

Shapes: C classes, T templates, D joint width, S samples.
"""

from typing import Tuple

import numpy as np
import torch
from torch import Tensor

from modprompt.heads.fitting import PermutedViews


def texts_as_samples(text: Tensor, samples: int, paired: bool = True) -> Tuple[Tensor, Tensor]:
    """Class features (S, D), drawn with NumPy's generator from all of (C, T, D), and their classes (S,).

    Args:
        text: raw class features (C, T, D).
        samples: S.
        paired: False for the reference's: labels go class by class, but features template by template.
    """
    classes, templates, width = text.shape
    features = text if paired else text.transpose(0, 1)
    labels = torch.arange(classes, device=text.device).repeat_interleave(templates)
    drawn = torch.from_numpy(np.random.choice(classes * templates, samples)).to(text.device)
    return features.reshape(-1, width)[drawn], labels[drawn]


class HalfOfBoth(PermutedViews):
    """Images and as many texts: an epoch draws half of all, with replacement, and permutes them."""

    def order(self) -> np.ndarray:
        """The numbers of the samples of an epoch, newly drawn."""
        drawn = np.random.choice(len(self.labels), len(self.labels) // 2)
        return drawn[np.argsort(np.random.rand(len(drawn)))]
