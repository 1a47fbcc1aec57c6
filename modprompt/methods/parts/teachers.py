"""A frozen second CLIP of any widths as a teacher: its settings, its logits, losses, and what a run must be for it.

Shapes: B images, C classes, E_t its joint width.
"""

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from modprompt.clip.facts import called, facts_of
from modprompt.clip.load import images_of, load_clip
from modprompt.clip.spec import asked_of
from modprompt.clip.towers import CLIP
from modprompt.engine.model import Output
from modprompt.errors import SettingError, UserError
from modprompt.fields import setting
from modprompt.io import checkpoint
from modprompt.io.checkpoint import Checkpoint, run_or_file
from modprompt.io.files import of_user
from modprompt.io.identity import TEACHER, TEACHER_CKPT
from modprompt.io.records import file_hash
from modprompt.io.settings import read_settings
from modprompt.methods.base import Method
from modprompt.methods.loading import stated_method
from modprompt.methods.model import PromptedModel
from modprompt.methods.named_files import DIGITS, NONE
from modprompt.methods.parts.learners import Classes
from modprompt.methods.promptsrc import PromptSRC
from modprompt.methods.records import load_content, made_with, of_clip, require_own_classes, view_of
from modprompt.methods.table import BY_NAME, HEADS, METHODS, beside_of, kind_of, row_of
from modprompt.methods.together import JOINING, asked
from modprompt.methods.zeroshot import ZeroshotCLIP


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
            raise UserError(f"The teacher ({self._whose}) cannot be used: {error}") from None
        learner = made.prompt_learner
        own = made.has_own_logits or learner.needs_image or learner.pooling is not None
        if own or learner.given_text is not None:
            raise UserError(
                f"{type(self.method).__name__} ({self._whose}) cannot be a teacher, because the method has "
                "no class features of its own."
            )
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

    Raises UserError if they do not fit and must not be resized.
    """
    mine, theirs = teacher.visual.input_resolution, student.visual.input_resolution
    if mine == theirs:
        return 0
    if not resize:
        raise UserError(
            f"The teacher {called(teacher)} needs images of {mine} x {mine} pixels, but the student "
            f"{called(student)} uses {theirs} x {theirs} pixels. Set TEACHER_RESIZE to True to resize the "
            "student's images for the teacher."
        )
    return int(mine)


def renormalised(student: CLIP, teacher: CLIP) -> Callable[[Tensor], Tensor]:
    """A function from images normalised for a student to the same normalised for a teacher, both (B, 3, H, W).

    A CLIP without known normalisation uses the other one's.
    """
    of, to = facts_of(student), facts_of(teacher)
    if not of.mean or not to.mean or (of.mean, of.std) == (to.mean, to.std):
        return nn.Identity()
    mean_of, std_of, mean_to, std_to = (torch.tensor(one)[:, None, None] for one in (of.mean, of.std, to.mean, to.std))
    return _Scaled(std_of / std_to, (mean_of - mean_to) / std_to)


class _Scaled:
    """Images times a factor, plus a shift, both (3, 1, 1); these are moved to the images' device once."""

    def __init__(self, factor: Tensor, shift: Tensor):
        self.factor, self.shift = factor, shift

    def __call__(self, images: Tensor) -> Tensor:
        self.factor, self.shift = self.factor.to(images.device), self.shift.to(images.device)
        return (images.float() * self.factor + self.shift).to(images.dtype)


T = TypeVar("T", bound="Taught")
PUBLISHED = PromptSRC.of({"n_ctx_text": 4, "n_ctx_vision": 4, "prompt_depth_text": 9, "prompt_depth_vision": 9})
UNKNOWN = "not known"


@dataclass(frozen=True, repr=False)
class Taught(Method):
    """A method with a teacher that is another CLIP.

    `prepared` reads the teacher; a method from a checkpoint only knows which it was, and none is read.
    """

    teacher_name: str = setting(
        "ViT-L/14", "the name or path of the teacher's CLIP model", compared=False, content=TEACHER
    )
    teacher_ckpt: str = setting(
        "",
        "the run folder or checkpoint of the teacher's trained prompts; none for a teacher without prompts",
        compared=False,
        content=TEACHER_CKPT,
    )
    teacher_config: str = setting(
        "",
        "the config file of the teacher's training, for a checkpoint that does not record its settings; "
        "empty uses PromptSRC's settings with 4 tokens and depth 9",
        compared=False,
    )
    teacher_resize: bool = setting(
        False, "resizes the student's images for a teacher that needs another image size if True", compared=False
    )

    teacher: ClassVar[Teacher | None] = None  # set on an instance that is prepared
    taught_by: ClassVar[Mapping[str, str]] = {}  # set on an instance from a checkpoint: which teacher it was

    def teacher_at_hand(self) -> Teacher:
        """The teacher, which a loss needs; UserError if the model comes from a checkpoint, without it."""
        if self.teacher is None:
            raise UserError(
                "The model was loaded from a checkpoint, which does not contain the teacher, so the training loss "
                "cannot be computed."
            )
        return self.teacher

    def prepared(self: T) -> T:
        """This method, with its teacher read; SettingError if there is none, or its checkpoint does not fit."""
        if self.teacher is not None or self.taught_by:
            return self
        try:
            return self.replace_private(teacher=read(self.teacher_name, self.teacher_ckpt, self.teacher_config))
        except SettingError as error:
            keys = {one.field.upper(): one.key for one in self.settings()}
            raise SettingError([(keys[field], text) for field, text in error.faults]) from None

    def metadata(self) -> dict[str, Any]:
        mine = dict(self.taught_by)
        if self.teacher is not None:
            mine = {TEACHER: self.teacher.fingerprint, TEACHER_CKPT: self.teacher.digest or NONE}
        return {**super().metadata(), **mine}

    def restore(self: T, stated: Mapping[str, Any], classes: Mapping[str, Any], path: str) -> T:
        """This method as a file describes it; no teacher is read."""
        return self.replace_private(taught_by={one: str(stated.get(one, UNKNOWN)) for one in (TEACHER, TEACHER_CKPT)})


def read(name: str, ckpt: str, config: str) -> Teacher:
    """A teacher. Random generators stay as they are.

    Args:
        name: name of its CLIP, or a file or folder of weights.
        ckpt: a run's folder or a checkpoint of learned prompts; NONE for no prompts.
        config: config of the training, for a checkpoint that does not say what it is; empty for PUBLISHED.

    Raises:
        SettingError: if one of these is missing, or they do not fit each other.
    """
    if not ckpt:
        raise SettingError(
            [
                (
                    "TEACHER_CKPT",
                    " is not set. Set TEACHER_CKPT to the run folder or checkpoint of the teacher's prompts, "
                    f"or to {NONE} for a teacher without prompts.",
                )
            ]
        )
    try:
        with torch.random.fork_rng(devices=[]):
            clip_model, _ = load_clip(name, "cpu")
    except UserError as error:
        raise SettingError([("TEACHER_NAME", f": {error}")]) from None
    clip_model = clip_model.float().requires_grad_(False)
    fingerprint = str(facts_of(clip_model).fingerprint)
    if ckpt == NONE:
        return Teacher(clip_model, ZeroshotCLIP(), None, "", fingerprint, "")
    method = PUBLISHED if not config else _of_config(config)
    try:
        file = checkpoint.chosen_checkpoint(run_or_file(ckpt))
        content = checkpoint.read(file)
        if content.record:
            method = stated_method(content.record["method"], content.record["classes"], file)
        _require_prompts(method, file)
        _require_same_clip(content, clip_model, file)
        digest = file_hash(file)[:DIGITS]
    except (UserError, OSError) as error:
        raise SettingError([("TEACHER_CKPT", f": {error}")]) from None
    return Teacher(clip_model, method, content, file, fingerprint, digest)


def _of_config(path: str) -> Method:
    """The method whose settings are in a config file; SettingError if there is none, or of no method or several."""
    try:
        given = read_settings(str(of_user(path)))
    except UserError as error:
        raise SettingError([("TEACHER_CONFIG", f": {error}")]) from None
    named = {key.rpartition(".")[0] for key in given}
    rows = [row for row in METHODS if not row.of and not row.reads and row.node in named]
    if len(rows) != 1:
        raise SettingError(
            [
                (
                    "TEACHER_CONFIG",
                    f": {path} must have the settings of a single method, but has those of {len(rows)} methods.",
                )
            ]
        )
    start, method = f"{rows[0].node}.", rows[0].method
    own = {key[len(start) :]: value for key, value in given.items() if key.startswith(start)}
    try:
        return method.of(method.in_node(own))
    except SettingError as error:
        raise SettingError([("TEACHER_CONFIG", f": {path}: {error}")]) from None


def _require_prompts(method: Method, file: str) -> None:
    name = type(method).__name__
    if kind_of(name) == HEADS or method.search is not None or isinstance(method, Taught):
        raise UserError(f"{file} belongs to {name}, which cannot be a teacher. Use a checkpoint of trained prompts.")


def _require_same_clip(content: Checkpoint, clip_model: CLIP, file: str) -> None:
    """Raise UserError if a checkpoint holds a CLIP that lacks a tensor, or is not the teacher's, in half precision."""
    state = {key.removeprefix("module."): one for key, one in content.state_dict.items()}
    if not any(key.startswith("image_encoder.") and "VPT" not in key for key in state):
        return
    for name, one in clip_model.state_dict().items():
        part = "image_encoder." if name.startswith("visual.") else "" if name == "logit_scale" else "text_encoder."
        key = part + name.removeprefix("visual.")
        if name.startswith("token_embedding."):  # which the text encoder in checkpoints of the family lacks
            continue
        there = state.get(key)
        if not isinstance(there, Tensor):
            raise UserError(
                f"{file} contains weights of a CLIP model, but {key} is missing. Use another copy of the file."
            )
        if there.shape != one.shape or not torch.equal(there.half(), one.half()):
            raise UserError(
                f"{file} was made with a different CLIP model than {called(clip_model)}: {key} differs. Set "
                "TEACHER_NAME to the CLIP model with which the file was made."
            )


IMAGES, CLASSES = "images", "images and classes"  # over which a divergence is averaged


def divergence(of: Tensor, to: Tensor, temperature: float, over: str) -> Tensor:
    """The Kullback-Leibler divergence of softmax(of / T) from softmax(to / T), a scalar.

    Args:
        of: logits (B, C), float32.
        to: likewise.
        temperature: T.
        over: IMAGES, the mean over B of the sums over classes; or CLASSES, the mean over B * C (PromptKD, arXiv
            2403.02781, as in its code).
    """
    shares = F.log_softmax(of / temperature, dim=-1)
    total = F.kl_div(F.log_softmax(to / temperature, dim=-1), shares, reduction="sum", log_target=True)
    return total / (len(of) if over == IMAGES else of.numel())


@dataclass(eq=False)
class Distillation:
    """The divergence of a teacher's probabilities from the student's, or both ways, times T squared.

    The model itself decides which class features the student's logits use.

    Args:
        teacher: its logits for images.
        temperature: T.
        over: over which each divergence is averaged; see divergence.
        back: the weight of the student's divergence from the teacher's; the other direction has 1 - back.
        scale: returns the factor of the teacher's cosines, a scalar; None for its own.
    """

    teacher: TeacherLogits
    temperature: float = 1.0
    over: str = CLASSES
    back: float = 0.0
    scale: Callable[[], Tensor] | None = None

    def __call__(self, output: Output, images: Tensor, labels: Tensor) -> Tensor:
        """For images (B, 3, H, W), a scalar; labels are not read."""
        said = output.logits.float()
        goal = self.teacher.logits(images, None if self.scale is None else self.scale())
        loss = divergence(goal, said, self.temperature, self.over)
        if self.back:
            loss = (1 - self.back) * loss + self.back * divergence(said, goal, self.temperature, self.over)
        return self.temperature**2 * loss


_TOLERANCE = 1e-6


def check(cfg: Any) -> None:
    """Raise UserError on images that a teacher cannot use, and on training settings that exclude one."""
    name = cfg.TRAINER.NAME
    mine = [row_of(name).method] if name in BY_NAME else []
    for method in (*mine, *(beside_of(JOINING[node].name).method for node in asked(cfg.TRAINER, name))):
        if issubclass(method, Taught):
            _check_run(cfg, method)


def _check_run(cfg: Any, method: Any) -> None:
    node = cfg.TRAINER[method.node_name()]
    if "normalize" not in cfg.INPUT.TRANSFORMS:
        raise UserError(
            "INPUT.TRANSFORMS must include 'normalize', because the teacher's images are computed from "
            "normalized images."
        )
    images = images_of(asked_of(cfg.MODEL.BACKBONE))
    for key, own in (("PIXEL_MEAN", images.mean), ("PIXEL_STD", images.std)):
        if any(abs(mine - one) > _TOLERANCE for mine, one in zip(cfg.INPUT[key], own)):
            raise UserError(
                f"INPUT.{key} is {list(cfg.INPUT[key])}, but must be {list(own)}, the value of the student's CLIP "
                f"model, because the teacher's images are computed from the student's images. Remove INPUT.{key}."
            )
    if cfg.TEST.ONLY:
        return
    if cfg.ACTIVE.ROUNDS:
        raise UserError(
            f"{method.__name__} uses no labels, so active-learning rounds are not supported. Set ACTIVE.ROUNDS to 0."
        )
    if "MODAL" in node:
        _check_training(cfg, node)


def _check_training(cfg: Any, node: Any) -> None:
    if cfg.DATALOADER.TRAIN_X.BATCH_SIZE < 2:
        raise UserError(
            "DATALOADER.TRAIN_X.BATCH_SIZE must be at least 2, because the projector uses batch normalization."
        )
    if node.MODAL == "base2novel" and cfg.DATASET.SUBSAMPLE_CLASSES != "all":
        raise UserError(
            f"With MODAL base2novel, {cfg.TRAINER.NAME} trains on images of all classes and tests base and new "
            "classes separately. Set DATASET.SUBSAMPLE_CLASSES to all."
        )
    if node.MODAL == "base2novel" and (cfg.TEST.SPLIT, cfg.TEST.FINAL_MODEL) == ("val", "best_val"):
        raise UserError(
            "TEST.SPLIT val with TEST.FINAL_MODEL best_val is not supported, because the epoch would be selected on "
            "images of new classes. Set TEST.SPLIT to test or TEST.FINAL_MODEL to last_step."
        )
    if node.CHOOSE_ON and cfg.TEST.FINAL_MODEL != "best_val":
        raise UserError(
            "The setting CHOOSE_ON test has no effect, because it only applies if TEST.FINAL_MODEL is best_val. Set "
            "TEST.FINAL_MODEL to best_val, or remove CHOOSE_ON."
        )
