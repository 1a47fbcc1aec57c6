"""Base to new in rounds: the new classes of a data set, tested with each round's prompts. No generator moves."""

from __future__ import annotations

from typing import Any

from dassl.data.datasets import build_dataset

from modprompt.active import generators
from modprompt.active.scoring import Scorer
from modprompt.trainers.run_config import RunConfig


class NewClasses:
    """The test images of the new classes.

    Args:
        cfg: the configuration of a run on the base classes.
    """

    def __init__(self, cfg: RunConfig) -> None:
        new = cfg.of_one_training(**{"DATASET.SUBSAMPLE_CLASSES": "new"})
        with generators.kept():
            self.dataset = build_dataset(new)
        self.names, self.dataset_name = list(self.dataset.classnames), cfg.DATASET.NAME
        self._scorer = Scorer(self.dataset.test)
        self._told = False
        self.class_bound = False  # whether what was learned of classes has had no say on these

    def accuracy_pct(self, trainer: Any) -> float | None:
        """Accuracy on the new classes of a trainer's prompts, in percent; None, after a line, of those of one class."""
        if trainer.model.prompt_learner.bound:
            if not self._told:
                print("note: prompts of single classes (CSC) cannot be put in front of new ones, which are not tested")
            self._told = True
            return None
        with generators.kept():
            model = trainer.model.with_classes(
                self.names, self.dataset_name, listed=True, which=getattr(self.dataset, "which", ())
            )
            self.class_bound = bool(getattr(model, "class_bound", False))
            accuracy = self._scorer.accuracy_pct(trainer, model)
        print(f"* accuracy on {len(self.names)} new classes: {accuracy:.1f}%")
        return accuracy
