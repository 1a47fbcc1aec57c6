"""A frozen second CLIP of any widths, with or without learned prompts, and its logits for a student's images.

Shapes: B images, C classes, E_t its joint width.
"""

import copy
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from modprompt.clip.facts import called, facts_of
from modprompt.clip.structure import CLIP
from modprompt.errors import UserError
from modprompt.io.checkpoint import Checkpoint
from modprompt.methods.base import Method
from modprompt.methods.model import PromptedModel
from modprompt.methods.parts.checkpoint_view import load_content, require_own_classes
from modprompt.methods.parts.classes import Classes
from modprompt.methods.records import made_with, of_clip, view_of


class Teacher(NamedTuple):
    """A CLIP with its learned prompts.

    clip_model: in float32, with the weights that it was saved with, in eval mode; not shared with anything.
    method: the prompts' method.
    content: their checkpoint; None without prompts.
    file: the checkpoint's path, for messages.
    fingerprint: of the CLIP's weights.
    digest: of the checkpoint; empty without prompts.
    """

    clip_model: CLIP
    method: Method
    content: Checkpoint | None
    file: str
    fingerprint: str
    digest: str

    def model(self, classes: Classes) -> PromptedModel:
        """Its model for these classes, frozen, in eval mode. Random generators stay as they are.

        Raises:
            UserError: if its prompts do not fit its CLIP, belong to other classes (CSC), or have no class features for
                cosines.
        """
        try:
            with torch.random.fork_rng(devices=[]):
                made = self.method.on(self.clip_model, classes.names, dataset=classes.dataset, listed=True)
        except UserError as error:  # about its settings, not the student's
            raise UserError(f"the teacher, {self._whose}: {error}") from None
        learner = made.prompt_learner
        own = made.has_own_logits or learner.needs_image or learner.pooling is not None
        if own or hasattr(learner, "given_text"):
            raise UserError(f"{self._whose}: {type(self.method).__name__} has no class features to teach with")
        if self.content is not None:
            stated = made_with(self.method, of_clip(self.clip_model))
            load_content(view_of(self.method, learner), self.content, self.file, stated)
            if learner.bound:
                require_own_classes(self.content, classes.names, self.file)
        learner.requires_grad_(False)
        made.limit_text()
        return made.eval()

    @property
    def _whose(self) -> str:
        return self.file or called(self.clip_model)


class TeacherLogits:
    """A teacher's logits for a student's images, without gradients.

    Class features are computed here, once, from the weights as they were saved; afterwards it computes in the student's
    precision.

    Args:
        teacher: the teacher.
        classes: the classes that are told apart.
        student: its clip_model says how images were normalised; its precision is used.
        resize: whether images, the student's crops, are resized if the teacher needs another size.
        class_features: the teacher's unit class features (C, E_t), if they are computed already.

    Raises:
        UserError: as Teacher.model; or if the sizes of images differ and `resize` is False.
    """

    def __init__(
        self,
        teacher: Teacher,
        classes: Classes,
        student: PromptedModel,
        resize: bool,
        class_features: Tensor | None = None,
    ):
        self.size = require_size(teacher.clip_model, student.clip_model, resize)
        self.teacher, self.classes = teacher, classes
        device = student.logit_scale.device
        self.class_features = exact_features(teacher, classes, device) if class_features is None else class_features
        self._normalised = renormalised(student.clip_model, teacher.clip_model)
        self._prec: Callable[[], str] = lambda: student.prec
        self.model = self._made(device)

    def set_stream(self, stream: torch.dtype | None) -> None:
        """Cast the teacher, from its own weights, as the student was cast."""
        self.model = self._made(self.model.logit_scale.device)

    def _made(self, device: torch.device) -> PromptedModel:
        """Its model on a device, in the student's precision; the teacher keeps its weights."""
        copied = self.teacher._replace(clip_model=copy.deepcopy(self.teacher.clip_model))
        model = copied.model(self.classes).to(device)
        if self._prec():
            model.cast(self._prec())
        return model

    def __getstate__(self) -> Any:
        return {**self.__dict__, "_prec": str}  # a copy follows no student's casts

    @torch.no_grad()
    def image_features(self, images: Tensor) -> Tensor:
        """Its unit features (B, E_t), float32, of images (B, 3, H, W) as the student gets them."""
        if self.model.logit_scale.device != images.device:
            self.model.to(images.device)
        if self.size:
            images = F.interpolate(images.float(), (self.size, self.size), mode="bicubic", align_corners=False)
        features = self.model.encode_image(self._normalised(images))
        return F.normalize(features.float(), dim=-1)

    @torch.no_grad()
    def logits(self, images: Tensor, scale: Tensor | None = None) -> Tensor:
        """Its logits (B, C), float32, with its own scale or another, a scalar."""
        features = self.image_features(images)
        self.class_features = self.class_features.to(features.device)
        mine = self.model.cosine_scale() if scale is None else scale.detach()
        return mine.float() * features @ self.class_features.t()


def exact_features(teacher: Teacher, classes: Classes, device: torch.device) -> Tensor:
    """A teacher's unit class features (C, E_t), float32, computed on a device from the weights as they were saved.

    Raises:
        UserError: as Teacher.model.
    """
    if device.type != "cpu":  # the teacher's own weights stay where they are
        teacher = teacher._replace(clip_model=copy.deepcopy(teacher.clip_model))
    model = teacher.model(classes).to(device)
    with torch.no_grad():
        return model.class_features().detach().float().clone()


def require_size(teacher: CLIP, student: CLIP, resize: bool) -> int:
    """The side in pixels to which a student's images are resized for a teacher; 0 if they fit as they are.

    Raises:
        UserError: if they do not fit and must not be resized.
    """
    mine, theirs = teacher.visual.input_resolution, student.visual.input_resolution
    if mine == theirs:
        return 0
    if not resize:
        raise UserError(
            f"the teacher {called(teacher)} needs images of {mine} x {mine} pixels, but the student {called(student)} "
            f"has {theirs} x {theirs}: TEACHER_RESIZE True resizes the student's crop"
        )
    return int(mine)


def renormalised(student: CLIP, teacher: CLIP) -> Callable[[Tensor], Tensor]:
    """A function from images normalised for a student to the same normalised for a teacher, both (B, 3, H, W).

    A CLIP without known normalisation uses the other one's.
    """
    of, to = facts_of(student), facts_of(teacher)
    if not of.mean or not to.mean or (of.mean, of.std) == (to.mean, to.std):
        return _as_they_are
    mean_of, std_of, mean_to, std_to = (torch.tensor(one)[:, None, None] for one in (of.mean, of.std, to.mean, to.std))
    return _Scaled(std_of / std_to, (mean_of - mean_to) / std_to)


def _as_they_are(images: Tensor) -> Tensor:
    return images


class _Scaled:
    """Images times a factor, plus a shift, both (3, 1, 1); these are moved to the images' device once."""

    def __init__(self, factor: Tensor, shift: Tensor):
        self.factor, self.shift = factor, shift

    def __call__(self, images: Tensor) -> Tensor:
        self.factor, self.shift = self.factor.to(images.device), self.shift.to(images.device)
        return (images.float() * self.factor + self.shift).to(images.dtype)
