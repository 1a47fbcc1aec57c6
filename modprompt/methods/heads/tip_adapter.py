"""Tip-Adapter and Tip-Adapter-F (arXiv 2207.09519): a cache of the training images, as it is and with keys trained."""

from dataclasses import dataclass
from typing import Sequence

from modprompt.fields import setting
from modprompt.methods.heads.base import TEST
from modprompt.methods.heads.head_groups import FreshViewsHead, SearchedHead
from modprompt.methods.heads.tip_adapter_head import TipAdapterHead


@dataclass(frozen=True, repr=False)
class TipAdapter(SearchedHead, FreshViewsHead):
    """A cache of the training images beside zero-shot CLIP; nothing is trained."""

    node = "TRAINER.TIPADAPTER"
    folder = "tip_adapter"

    init_alpha: float = setting(1.0, "weight of the cache, where nothing is searched", least=0, compared=False)
    init_beta: float = setting(1.0, "sharpness of affinities, where nothing is searched", least=0, compared=False)
    augment_epoch: int = setting(10, "augmented passes over the training images of which keys are the mean", least=1)
    train_epoch: int = setting(20, "epochs of Tip-Adapter-F", least=1, compared=False)
    lr: float = setting(0.001, "learning rate of Tip-Adapter-F", least=0, compared=False)
    best_epoch_on: str = setting(
        "",
        "take Tip-Adapter-F's best epoch on these, as its reference does, not the last",
        choices=("", TEST),
    )

    def head(self, names: Sequence[str], width: int) -> TipAdapterHead:
        """A cache that stays as it is."""
        return TipAdapterHead(names, width, self.init_alpha, self.init_beta)

    def passes(self) -> int:
        """AUGMENT_EPOCH."""
        return self.augment_epoch

    def best_on(self) -> str:
        """BEST_EPOCH_ON."""
        return self.best_epoch_on


@dataclass(frozen=True, repr=False)
class TipAdapterF(TipAdapter):
    """The same cache, its keys trained; it reads Tip-Adapter's settings."""

    node = "TRAINER.TIPADAPTER"
    log_accuracy = True

    def head(self, names: Sequence[str], width: int) -> TipAdapterHead:
        """A cache whose keys are trained."""
        return TipAdapterHead(names, width, self.init_alpha, self.init_beta, self.lr)

    def epochs(self, configured: int) -> int:
        """TRAIN_EPOCH."""
        return self.train_epoch
