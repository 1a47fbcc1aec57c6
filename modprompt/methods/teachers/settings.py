"""A method's settings of its teacher, and reading it: a CLIP by name or path, with or without a checkpoint."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor

from modprompt.clip.facts import called, facts_of
from modprompt.clip.load import load_clip
from modprompt.clip.structure import CLIP
from modprompt.errors import SettingError, UserError
from modprompt.fields import setting
from modprompt.io import checkpoint
from modprompt.io.checkpoint import Checkpoint
from modprompt.io.checkpoint_files import run_or_file
from modprompt.io.checksum import file_hash
from modprompt.io.paths import of_user
from modprompt.io.same_run import TEACHER, TEACHER_CKPT
from modprompt.io.settings import read_settings
from modprompt.methods.base import Method
from modprompt.methods.loading import stated_method
from modprompt.methods.named_files import DIGITS, NONE
from modprompt.methods.promptsrc import PromptSRC
from modprompt.methods.table import HEADS, METHODS, kind_of
from modprompt.methods.teachers.teacher import Teacher
from modprompt.methods.zeroshot import ZeroshotCLIP

T = TypeVar("T", bound="Taught")
PUBLISHED = PromptSRC(n_ctx_text=4, n_ctx_vision=4, prompt_depth_text=9, prompt_depth_vision=9)
UNKNOWN = "not known"
_NO_TEXT = "token_embedding."  # which the text encoder in checkpoints of the family lacks


@dataclass(frozen=True, repr=False)
class Taught(Method):
    """A method with a teacher that is another CLIP.

    `prepared` reads the teacher; a method from a checkpoint only knows which it was, and none is read.
    """

    teacher_name: str = setting("ViT-L/14", "the teacher's CLIP: a name, or a path of weights", compared=False)
    teacher_ckpt: str = setting(
        "", "its learned prompts: a run's folder or a checkpoint; none: a teacher without prompts", compared=False
    )
    teacher_config: str = setting(
        "",
        "the config of its training, for a checkpoint that does not say it; empty: PromptSRC's, 4 tokens and depth 9",
        compared=False,
    )
    teacher_resize: bool = setting(
        False, "whether the student's crop is resized for a teacher that needs another size", compared=False
    )

    teacher: ClassVar[Teacher | None] = None  # set on an instance that is prepared
    taught_by: ClassVar[Mapping[str, str]] = {}  # set on an instance from a checkpoint: which teacher it was

    def teacher_at_hand(self) -> Teacher:
        """The teacher, which a loss needs.

        Raises:
            UserError: if the model comes from a checkpoint, without its teacher.
        """
        if self.teacher is None:
            raise UserError("this model comes from a checkpoint, without its teacher: it has no loss")
        return self.teacher

    def prepared(self: T) -> T:
        """This method, with its teacher read. Random generators stay as they are.

        Raises:
            SettingError: if there is none, or a tensor of its checkpoint is missing or does not fit.
        """
        if self.teacher is not None or self.taught_by:
            return self
        try:
            return self.replace_private(teacher=read(self.teacher_name, self.teacher_ckpt, self.teacher_config))
        except SettingError as error:
            keys = {one.field.upper(): one.key for one in self.settings()}
            raise SettingError([(keys[field], text) for field, text in error.faults]) from None

    def metadata(self) -> dict[str, Any]:
        """Which CLIP the teacher is, and which prompts it has."""
        if self.taught_by:
            mine = dict(self.taught_by)
        elif self.teacher is not None:
            mine = {TEACHER: self.teacher.fingerprint, TEACHER_CKPT: self.teacher.digest or NONE}
        else:
            mine = {}
        return {**super().metadata(), **mine}

    def restore(self: T, stated: Mapping[str, Any], classes: Mapping[str, Any], path: str) -> T:
        """This method as a file describes it; no teacher is read."""
        method = super().restore(stated, classes, path)
        known = {name: str(stated.get(name, UNKNOWN)) for name in (TEACHER, TEACHER_CKPT)}
        return method.replace_private(taught_by=known)


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
        raise SettingError([("TEACHER_CKPT", f" is not given: where are the teacher's prompts? ({NONE}: it has none)")])
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
    """The method whose settings are in a config file of its trainer.

    Raises:
        SettingError: if there is no such file, or it has settings of no method or of several.
    """
    try:
        given = read_settings(str(of_user(path)))
    except UserError as error:
        raise SettingError([("TEACHER_CONFIG", f": {error}")]) from None
    named = {key.rpartition(".")[0] for key in given}
    rows = [row for row in METHODS if not row.of and not row.reads and row.node in named]
    if len(rows) != 1:
        raise SettingError([("TEACHER_CONFIG", f": {path} has the settings of {len(rows)} methods, not of one")])
    start, method = f"{rows[0].node}.", rows[0].method
    own = {key[len(start) :]: value for key, value in given.items() if key.startswith(start)}
    try:
        return method.of(method.in_node(own))
    except SettingError as error:
        raise SettingError([("TEACHER_CONFIG", f": {path}: {error}")]) from None


def _require_prompts(method: Method, file: str) -> None:
    name = type(method).__name__
    if kind_of(name) == HEADS or method.search is not None or isinstance(method, Taught):
        raise UserError(f"{file} belongs to {name}, which cannot teach: give learned prompts")


def _require_same_clip(content: Checkpoint, clip_model: CLIP, file: str) -> None:
    """Raise UserError if a checkpoint holds a CLIP that lacks a tensor, or is not the teacher's.

    The family's hold all of CLIP except the table of words, mostly in half precision.
    """
    state = {key[7:] if key.startswith("module.") else key: one for key, one in content.state_dict.items()}
    if not any(key.startswith("image_encoder.") and "VPT" not in key for key in state):
        return
    for name, one in clip_model.state_dict().items():
        part = "image_encoder." if name.startswith("visual.") else "" if name == "logit_scale" else "text_encoder."
        key = part + name.removeprefix("visual.")
        if name.startswith(_NO_TEXT):
            continue
        there = state.get(key)
        if not isinstance(there, Tensor):
            raise UserError(f"{file}: {key} is missing, though the file holds the rest of a CLIP")
        if there.shape != one.shape or not torch.equal(there.half(), one.half()):
            raise UserError(f"{file} holds another CLIP than {called(clip_model)}: {key} differs")
