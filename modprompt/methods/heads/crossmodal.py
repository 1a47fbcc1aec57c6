"""Texts as training samples in addition to images (CrossModal, arXiv 2301.06267, as CLAP's authors run it).

Shapes: V views, N training images, C classes, T templates, D joint width.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from modprompt.methods.heads.bank import Bank
from modprompt.methods.heads.fitting import PermutedViews
from modprompt.methods.heads.prototypes import TEXT, PrototypesHead


class ImagesAndTexts(PermutedViews):
    """All views of the images and as many texts: an epoch draws half of them, with replacement, and permutes them.

    Args:
        bank: of the training images.
        texts: for the (V N,) text samples, their numbers among the class features (C T, D).
        size: images of a batch.
        paired: False for the reference's labels, in order of classes, while features are in order of templates.
    """

    def __init__(self, bank: Bank, texts: Tensor, size: int, paired: bool):
        classes, templates, width = bank.text.shape
        features = bank.text if paired else bank.text.transpose(0, 1)
        labels = torch.arange(classes, device=bank.text.device).repeat_interleave(templates)
        super().__init__(
            torch.cat([bank.views.flatten(0, 1), features.reshape(-1, width)]),
            torch.cat([bank.labels.flatten(), labels]),
            bank.views.shape[1],
            size,
        )
        self.texts = texts

    def order(self) -> np.ndarray:
        """The numbers of the samples of an epoch, newly drawn."""
        images = len(self.texts)
        samples = np.concatenate([np.arange(images), images + self.texts.cpu().numpy()])
        drawn = samples[np.random.choice(len(samples), images)]
        return drawn[np.argsort(np.random.rand(images))]


class CrossModalHead(PrototypesHead):
    """ZS-LP with texts as training samples, too.

    Args:
        names: of the C classes.
        width: D.
        constraint: as in PrototypesHead.
        paired: whether texts are labelled with their own classes.
    """

    kept = ("texts",)
    texts: Tensor

    def __init__(self, names: Sequence[str], width: int, constraint: str = "", paired: bool = True):
        super().__init__(names, width, TEXT, constraint)
        self.paired = paired
        self.register_buffer("texts", torch.empty(0, dtype=torch.int64), persistent=False)

    def build(self, bank: Bank, scale: Tensor) -> None:
        """Draw the texts too, of all templates: as many as images in all views, with NumPy's generator."""
        super().build(bank, scale)
        drawn = np.random.choice(bank.text.shape[:2].numel(), bank.labels.numel())
        self.texts = torch.from_numpy(drawn).to(self.texts.device)

    def batches(self, bank: Bank, size: int) -> PermutedViews:
        """Images and texts."""
        return ImagesAndTexts(bank, self.texts, size, self.paired)
