"""What a run of a head chooses, by which images, and what its result and its checkpoint say of that."""

import time
import warnings
from typing import TYPE_CHECKING, Any, Dict, Optional

from modprompt.methods.heads.base import TEST, Head
from modprompt.methods.heads.headed import HeadMethod
from modprompt.methods.heads.headed_model import HeadedModel
from modprompt.runs import checkpoint
from modprompt.runs.checkpoint_files import BEST
from modprompt.runs.images import mark, selected_on
from modprompt.trainers.training_state import TRAINING_IMAGES

if TYPE_CHECKING:  # it stands in front of one
    from modprompt.trainers.feature_cache import FeatureBatches
    from modprompt.trainers.prompt_trainer import PromptTrainer as _Trainer
else:
    _Trainer = object


class HeadChoice(_Trainer):
    """The part of a head's trainer that searches behind the training, and says by which images anything was chosen.

    Attributes:
        found: what the search has found, for the result; None before it.
        is_built: whether the head was built here, from training images.
    """

    method: HeadMethod
    model: HeadedModel
    found: Optional[Dict[str, Any]]
    is_built: bool

    if TYPE_CHECKING:

        @property
        def head(self) -> Head: ...

        def features_of(self, split: str) -> FeatureBatches: ...

    def search_behind(self, best: Optional[checkpoint.Checkpoint] = None) -> None:
        """Search, if the head has something to search and there are images for it; say what came of it.

        Args:
            best: the best epoch's checkpoint, if that is what is tested; the last epoch's file stays what it is then.
        """
        grid, split, where = self.method.grid(), self.method.searched_on(), self._searched_on()
        if grid is None:
            return
        if not where:
            print("There are no validation images to search on: alpha and beta are as they were given")
            return
        began_s = time.perf_counter()
        batches = self.features_of(split)
        features, labels = batches.features.to(self.device), batches.labels.to(self.device)
        found = self.head.search(features, self.model.plain_logits(features), labels, grid)
        if found is None:
            return
        if self.training_s is not None:
            self.training_s += time.perf_counter() - began_s
        right = f"{found.correct} of {found.images} images right"
        print(f"Found beta {found.beta:g}, alpha {found.alpha:g}: {right} ({where})")
        self.found = {**found._asdict(), "grid": list(grid), "on": where}
        if best is None:
            self.save_model(self.max_epoch - 1, self.output_dir)
        else:
            self.save_model(best.epoch - 1, self.output_dir, val_result=self.best_result, model_name=BEST)

    def _searched_on(self) -> str:
        """Which images those of the search are; empty if there are none."""
        if self.method.searched_on() == TEST:
            return TEST
        where = selected_on(self.dm.dataset, self.cfg)
        is_none = not self.dm.dataset.val or (where == TEST and not self.cfg.DATASET.get("VAL_FROM_TEST", False))
        return "" if is_none else where

    def chosen(self) -> Dict[str, Any]:
        """What a result says of what was chosen, by which images, and whether that is beyond the project's rule."""
        chosen = selected_on(self.dm.dataset, self.cfg) if self.best_on else ""
        found = self.found if self.is_built else self.chosen_by_loaded().get("searched")  # of a head that was loaded
        where = TEST if self.best_on == TEST else found["on"] if found else chosen
        before = "" if self.method.front is None else self.method.front.selected_on  # of the prompts
        searched = {"searched": found} if found else {}
        marked = mark(where, before)
        return {"selected_on": where or before, **searched, **({"marked": marked} if marked else {})}

    def of_run(self) -> Dict[str, Any]:
        """What a checkpoint says of the run that made it."""
        return {**super().of_run(), **self.chosen()}

    def warn_of_other_images(self) -> None:
        """Warn if the prompts that the head stands behind were trained on other images than the head."""
        front = self.method.front
        theirs = {} if front is None or front.content is None else front.content.record["run"].get("settings", {})
        mine = self.resume_settings()
        if theirs.get(TRAINING_IMAGES, mine[TRAINING_IMAGES]) == mine[TRAINING_IMAGES]:
            return
        asked = ("DATASET.NAME", "DATASET.NUM_SHOTS", "DATASET.SUBSAMPLE_CLASSES", "SEED")
        other = [f"{key} {theirs[key]}, here {mine[key]}" for key in asked if theirs.get(key, "") != mine.get(key, "")]
        warnings.warn(
            f"the prompts in {self.method.behind} were trained on other images than this head "
            f"({'; '.join(other) or 'of another split'}): they may have seen images that are tested here",
            stacklevel=2,
        )
