"""Class features of several prompts a class: the mean of their logits, of their embeddings, or of their directions.

Shapes: B images that have prompts of their own (1 if none have), P prompts, C classes, M most prompts of a class,
E joint width.
"""

import itertools
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from modprompt.checks import at_least, one_of

LOGITS, EMBEDDINGS, DIRECTIONS = "logits", "embeddings", "directions"  # what is averaged


class Pooling(nn.Module):
    """From features of prompts, class by class, to features of classes; no parameters.

    The mean of logits is computed before there are any: it is the logit of the mean of the normalised features, which
    is not normalised again.

    Args:
        counts: number of prompts of each class.
        of: LOGITS; EMBEDDINGS: the mean of features before they are normalised, which is normalised afterwards; or
            DIRECTIONS: the mean of normalised features, which is normalised again.

    Raises:
        SettingError: if a class has no prompt, or `of` is something else.
    """

    places: Tensor
    shares: Tensor

    def __init__(self, counts: Sequence[int], of: str):
        super().__init__()
        one_of("the mean", of, (LOGITS, EMBEDDINGS, DIRECTIONS))
        at_least("the number of prompts of a class", min(counts), 1)
        self.of = of
        self.most = max(counts)
        starts = itertools.accumulate([0, *counts[:-1]])
        places = [[start + min(n, count - 1) for n in range(self.most)] for start, count in zip(starts, counts)]
        shares = [[1 / count if n < count else 0.0 for n in range(self.most)] for count in counts]
        self.register_buffer(
            "places", torch.tensor(places).flatten(), persistent=False
        )  # a short class repeats its last
        self.register_buffer("shares", torch.tensor(shares)[..., None], persistent=False)  # (C, M, 1)

    def forward(self, features: Tensor) -> Tensor:
        """Class features (B, C, E) of those of prompts (B, P, E), which are not normalised."""
        mean = self._mean(features if self.of == EMBEDDINGS else F.normalize(features, dim=-1))
        return mean if self.of == LOGITS else F.normalize(mean, dim=-1)

    def _mean(self, features: Tensor) -> Tensor:
        """The mean over each class's prompts, in float32; without atomic sums, so that a GPU repeats its numbers."""
        each = features.index_select(1, self.places).view(len(features), -1, self.most, features.shape[-1])
        return (each * self.shares).sum(2).to(features.dtype)
