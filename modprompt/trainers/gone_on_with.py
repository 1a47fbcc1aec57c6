"""What a prompt trainer's run is gone on with: what must be the same, and what lies beside learner and optimiser."""

import functools
from typing import Any, Dict, Optional

from modprompt.engine.precision import Precision
from modprompt.methods.base import Method
from modprompt.methods.model import PromptedModel
from modprompt.runs.images import TEST, images_hash, selected_on, training_images_hash
from modprompt.storage.forms import Form, table
from modprompt.trainers import text_chunk, training_state
from modprompt.trainers.resuming import ResumableRun
from modprompt.trainers.searching import Searching
from modprompt.trainers.state_form import average_form, scaler_form


class GoneOnWith(Searching, ResumableRun):
    """The part of a prompt trainer that says what a killed run of it needs."""

    method: Method
    model: PromptedModel
    node_name: str
    precision: Precision
    scaler: Any

    @property
    def text_chunk(self) -> Optional[int]:
        """How many own tokens of the classes are computed at a time; None if all are."""
        return text_chunk.in_use(self.model, self.cfg)

    def resume_settings(self) -> Dict[str, str]:
        """What must be the same for a run to be gone on with: settings, what they name, CLIP, training images."""
        return {
            **training_state.of_trainer(super().resume_settings(), self.node_name),
            "the weights of CLIP": self.backbone_fingerprint,
            **self._unrounded(),
            training_state.TRAINING_IMAGES: self.images_fingerprint,
            **self.method.made_of(),
            **self._chosen_by(),
        }

    def _unrounded(self) -> Dict[str, str]:
        """That weights which half precision cannot hold are run as they are: an earlier version rounded them."""
        if self.precision.half_weights or self.keeps_in_half:
            return {}
        return {"the precision of CLIP's weights": "float32"}

    def _chosen_by(self) -> Dict[str, str]:
        """By which images a best epoch is chosen, or alphas are learned, where they are not the test images."""
        dataset = self.dm.dataset
        kind = selected_on(dataset, self.cfg)
        if kind in ("", TEST) or not (self.searches is not None or self.best_on):
            return {}
        return {training_state.CHOSEN_BY: f"{kind} {images_hash(dataset.val, root=getattr(dataset, 'image_root', ''))}"}

    @functools.cached_property
    def images_fingerprint(self) -> str:
        """A hash that tells one list of training images from another, wherever they lie."""
        return training_images_hash(self.dm.dataset, self.cfg)

    def extra_state(self) -> Dict[str, Any]:
        """The loss scale, the average over epochs, how much of the text side is computed at a time, the search."""
        scaler = {} if self.scaler is None else {"scaler": self.scaler.state_dict()}
        average = {} if self.model.average is None else {"average": self.model.average.state_dict()}
        return {**scaler, **average, text_chunk.KEY: self.text_chunk, **self.search_state()}

    def extras_form(self, epoch: int) -> Form:
        """What extra_state gives behind so many epochs; a loss scale may be missing, of a run begun without one."""
        average = self.model.average
        scaler = {} if self.scaler is None else {"scaler": scaler_form(self.scaler.state_dict())}
        of_average = {} if average is None else {"average": average_form(epoch, self.model.prompt_learner.trained())}
        return table({**of_average, **self.search_form(epoch)}, {**scaler, text_chunk.KEY: text_chunk.FORM})

    def load_extra_state(self, extras: Any) -> None:
        """Take back what extra_state gave."""
        text_chunk.take_back(self.model, self.cfg, extras)
        if self.scaler is not None and "scaler" in extras:
            self.scaler.load_state_dict(extras["scaler"])
        if self.model.average is not None and "average" in extras:
            self.model.average.load_state_dict(extras["average"])
        self.load_search_state(extras)
