"""LP++ (arXiv 2404.02285): a linear probe, and zero-shot logits by a learned weight of each class."""

from dataclasses import dataclass
from typing import Sequence

from modprompt.fields import setting
from modprompt.heads.lpplusplus import LPPlusPlusHead
from modprompt.methods.headed import HeadMethod


@dataclass(frozen=True, repr=False)
class LPPlusPlus(HeadMethod):
    """All images in each step, at rates that follow from their features: OPTIM is not read."""

    node = "TRAINER.LPPLUSPLUS"
    folder = "lpplusplus"
    log_accuracy = True

    train_epoch: int = setting(300, "epochs, each a step on all training images", least=1, compared=False)

    latest_best: bool = setting(
        False,
        "with TEST.FINAL_MODEL best_val: of equally good epochs the last, as the reference has it",
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

    def last_of_equals(self) -> bool:
        """LATEST_BEST."""
        return self.latest_best
