"""2SFS (arXiv 2503.11609): the normalisations inside layers learn first, then a classifier on the features they make.

Shapes: C classes, c classes of the training, E joint width.
"""

import contextlib
import copy
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from modprompt.clip.towers import CLIP, joint_width, prompted_image, prompted_text
from modprompt.engine.norms import LayerNorms
from modprompt.engine.schedule import Schedules, Shape, without_prompts
from modprompt.errors import SettingError, UserError
from modprompt.fields import setting
from modprompt.methods.base import Method
from modprompt.methods.parts import templates
from modprompt.methods.parts.capabilities import Logging, SavedAs, Steps, Training
from modprompt.methods.parts.learners import AdaptedTemplate, Classes, Learner, places

_LEAST_RATE = 1e-6  # learning rate of the last step of each stage


class ClassRows(nn.Module):
    """The classifier: unit rows of classes that have one, the class feature of each other.

    A row of zeros is none: so all are until the second stage.

    Args:
        classes: those of the training.
        width: E.
    """

    at: Tensor | None

    def __init__(self, classes: Classes, width: int):
        super().__init__()
        self.classifier = nn.Parameter(torch.zeros(len(classes.names), width))  # (c, E)
        self.trained_on = self.classes = classes
        self.register_buffer("at", None, persistent=False)  # rows of these classes, c for none; None for all, in order

    def forward(self, text: Tensor) -> Tensor:
        """Unit class features (C, E), of those of the text side."""
        if self.at is None and len(self.classifier) != len(text):
            raise UserError(f"The classifier has {len(self.classifier)} rows, but there are {len(text)} classes.")
        rows = self.classifier if self.at is None else F.pad(self.classifier, (0, 0, 0, 1))[self.at]
        return torch.where(rows.detach().any(dim=1, keepdim=True), F.normalize(rows, dim=1).to(text.dtype), text)

    def resize(self, rows: int) -> None:
        """Have so many rows, all of zeros."""
        self.classifier.data = self.classifier.data.new_zeros(rows, self.classifier.shape[1])

    def clear(self) -> None:
        """Have none of these classes' rows yet, whatever a file had that a training begins from."""
        self.resize(len(self.classes.names))
        self.trained_on, self.at = self.classes, None

    def learned_on(self, classes: Classes) -> None:
        """Set the classes of the rows.

        Raises:
            UserError: if there are more or fewer rows, or nobody knows the classes.
        """
        if len(classes.names) != len(self.classifier):
            what = f"{len(self.classifier)} rows for {len(classes.names) or 'unknown'} classes"
            raise UserError(
                f"The classifier in the file has {what}. Either the file is damaged, or modprompt did not write it. "
                "Use another file."
            )
        self.trained_on = classes
        self._find(self.classes)

    def for_classes(self, classes: Classes) -> "ClassRows":
        """The same rows, shared, for other classes."""
        other = copy.copy(self)
        other.__dict__["_buffers"] = dict(self._buffers)
        other._find(classes)
        return other

    def _find(self, classes: Classes) -> None:
        self.classes = classes
        count = len(self.trained_on.names)
        found = [place if place >= 0 else count for place in places(self.trained_on, classes)]
        in_order = found == list(range(count))
        self.at = None if in_order else torch.tensor(found, device=self.classifier.device)


@dataclass(frozen=True, repr=False)
class TwoSFS(Method):
    """2SFS: normalisations in the layers of both sides, then a classifier; with LN_MODALITY text also on ResNets."""

    node = "TRAINER.TWOSFS"
    saved_as = SavedAs(prefix="")
    prec = "amp"
    logging = Logging(accuracy=True)
    not_searched = "TwoSFS has no prompts, so no schedule can be searched"

    n_iters: int = setting(
        300,
        "the number of training steps per training image of a class, independent of the number of classes",
        least=1,
        compared=False,
    )
    n_iters_frac: float = setting(
        0.6,
        "the fraction of the steps that train the normalization layers; the rest trains the classifier, and "
        "1 trains no classifier",
        least=0,
        most=1,
        compared=False,
    )
    ln_modality: str = setting(
        "both",
        "the encoder whose normalization layers are trained: text, vision or both",
        choices=("both", "text", "vision"),
    )
    ln_text_start: int = setting(
        0, "the first text layer, counted from 0, whose normalization layers are trained", least=0
    )
    ln_vision_start: int = setting(
        0, "the first layer of the image encoder, counted from 0, whose normalization layers are trained", least=0
    )

    @property
    def wants_text(self) -> bool:
        return self.ln_modality != "vision"

    @property
    def wants_vision(self) -> bool:
        return self.ln_modality != "text"

    @property
    def training(self) -> Training:
        return Training(steps=Steps(self.n_iters, _LEAST_RATE, self.n_iters_frac))

    def schedules(self, shape: Shape) -> Schedules:
        """No prompts.

        Raises:
            SettingError: if a side lacks the first layer that learns.
        """
        starts = {
            "LN_TEXT_START": (self.wants_text, self.ln_text_start, shape.text_layers),
            "LN_VISION_START": (self.wants_vision, self.ln_vision_start, shape.vision_layers),
        }
        faults = [
            (key, f" must be less than {layers}, the number of layers in this encoder, got {start}.")
            for key, (learns, start, layers) in starts.items()
            if learns and start >= layers
        ]
        if faults:
            raise SettingError(faults)
        return without_prompts(shape)

    def learner(self, clip_model: CLIP, classes: Classes, schedules: Schedules) -> "TwoStageLearner":
        """Class names in one template, the normalisations, and a classifier without rows; nothing is drawn.

        Raises:
            UserError: if a prompt is longer than the text context.
        """
        text = prompted_text(clip_model).transformer.resblocks if self.wants_text else ()
        vision = prompted_image(clip_model.visual).transformer.resblocks if self.wants_vision else ()
        norms = LayerNorms(text, vision, self.ln_text_start, self.ln_vision_start)
        return TwoStageLearner(classes, clip_model, schedules, norms)

    def for_classes(self, learner: Any, clip_model: CLIP, classes: Classes) -> Learner:
        other = super().for_classes(learner, clip_model, classes)
        other.class_rows = learner.class_rows.for_classes(classes)
        return other


class TwoStageLearner(AdaptedTemplate):
    """Class names in the default template, learned normalisations, and a classifier.

    Args:
        classes: of the training.
        norms: what the first stage learns.

    Raises:
        UserError: as TemplatePrompts.
    """

    adapters: LayerNorms
    class_rows: ClassRows

    def __init__(self, classes: Classes, clip_model: CLIP, schedules: Schedules, norms: LayerNorms):
        super().__init__(classes.names, clip_model, schedules, [templates.DEFAULT])
        self.take(norms)
        self.class_rows = ClassRows(classes, joint_width(clip_model))
        self.trained_on = classes.names

    @property
    def beginning(self) -> str:
        sides = {"text": self.adapters.text, "vision": self.adapters.vision}
        where = [f"{side} layers {' '.join(layers)}" for side, layers in sides.items() if len(layers)]
        return (
            f"Trained normalization layers: {', '.join(where)}; then a classifier with "
            f"{len(self.class_rows.classifier)} rows"
        )

    @contextlib.contextmanager
    def in_stage(self, stage: int, features: Callable[[], Tensor] | None) -> Iterator[None]:
        """Train normalisations, without rows, in stage 0; train rows, which begin as class features, in stage 1.

        Raises:
            UserError: if there is no such stage, or the classes are not those of the rows.
        """
        if stage not in (0, 1):
            raise UserError(f"in_stage: stage must be 0 (normalization layers) or 1 (classifier), got {stage!r}.")
        rows, names = self.class_rows.trained_on.names, self.class_rows.classes.names
        if rows != names:
            raise UserError(
                f"in_stage: this model has {len(names)} classes, but its classifier was made for a different set of "
                f"{len(rows)} classes. Create a new model for these classes with TwoSFS.on(clip_model, names)."
            )
        if features is not None:
            self.class_rows.clear()
            if stage:
                self.class_rows.classifier.data.copy_(features())
        frozen = self.adapters if stage else self.class_rows
        frozen.requires_grad_(False)
        self.trains_text = not stage and self.adapters.on_text
        try:
            yield
        finally:
            frozen.requires_grad_(True)
            self.trains_text = self.adapters.on_text

    def learned_on(self, classes: Classes) -> None:
        self.class_rows.learned_on(classes)
        self.trained_on = classes.names

    def take_sizes(self, state: Mapping[str, Tensor]) -> None:
        rows = state.get("class_rows.classifier")
        if rows is not None and rows.dim() == 2:
            self.class_rows.resize(len(rows))

    @staticmethod
    def checkpoint_key(name: str) -> str:
        """A parameter's name in checkpoints: side, layer, normalisation; or classifier."""
        return name.removeprefix("adapters.").removeprefix("class_rows.")
