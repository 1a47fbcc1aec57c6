"""LP++ (arXiv 2404.02285): a linear probe, and zero-shot logits by a learned weight of each class."""

from dataclasses import dataclass
from typing import Any, Mapping, Sequence

from modprompt.fields import setting
from modprompt.methods.heads.base import VAL
from modprompt.methods.heads.headed import HeadMethod
from modprompt.methods.heads.lpplusplus_head import LPPlusPlusHead
from modprompt.runs.images import AS_MANY


@dataclass(frozen=True, repr=False)
class LPPlusPlus(HeadMethod):
    """All images in each step, at rates that follow from their features: OPTIM is not read."""

    node = "TRAINER.LPPLUSPLUS"
    folder = "lpplusplus"
    log_accuracy = True

    train_epoch: int = setting(300, "epochs, each a step on all training images", least=1, compared=False)

    best_epoch_on: str = setting(
        "",
        "as many: take the epoch that is best on as many validation images as of training, as the reference does",
        choices=("", AS_MANY),
        compared=False,
    )
    latest_best: bool = setting(
        False,
        "where a best epoch is taken: of equally good ones the last, as the reference has it",
        compared=False,
    )

    def head(self, names: Sequence[str], width: int) -> LPPlusPlusHead:
        """The probe, which its images make."""
        return LPPlusPlusHead(names, width)

    def passes(self) -> int:
        """One augmented pass."""
        return 1

    def epochs(self, configured: int) -> int:
        """TRAIN_EPOCH."""
        return self.train_epoch

    @classmethod
    def chooses_by(cls, settings: Mapping[str, Any]) -> str:
        """BEST_EPOCH_ON."""
        chooses: str = settings["BEST_EPOCH_ON"]
        return chooses

    def best_on(self) -> str:
        """The validation images, with BEST_EPOCH_ON."""
        return VAL if self.best_epoch_on else ""

    def last_of_equals(self) -> bool:
        """LATEST_BEST."""
        return self.latest_best
