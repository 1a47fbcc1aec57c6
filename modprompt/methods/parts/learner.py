"""What all learners have: prompts of classes on a frozen CLIP, and their names in checkpoints."""

import contextlib
import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from modprompt.clip.towers import CLIP
from modprompt.engine.class_prompts import ClassPrompts, class_prompts
from modprompt.engine.layer_change import LayerChanges
from modprompt.engine.pooling import Pooling
from modprompt.engine.prompts import Additions, ClassTokens, Prompts, class_texts, template_texts
from modprompt.engine.schedule import BEHIND_START, Schedules
from modprompt.errors import UserError
from modprompt.methods.parts.classes import Classes
from modprompt.methods.parts.joint_head import JointHead
from modprompt.methods.parts.phrases import Described

HEAD = "joint_head."  # before the names of a joint head's parameters in a learner


class Learner(nn.Module):
    """A module whose call returns the current Prompts; all that is trained is in it.

    A subclass makes its parameters, in the order of its random draws, and calls `put_in`. The attributes below say what
    else it can do; the engine asks for them and for no class.
    """

    schedules: Schedules
    trains_text = True  # whether class features change in training
    needs_image = False  # whether its call needs image features (B, E), normalised, of the CLIP without prompts
    literal_scale = 0.0  # factor of cosines; 0: exp(logit_scale) of the CLIP
    changes_images = False  # whether its Prompts have changes of the vision side's layers
    images_by = ""  # settings that affect image features, besides what is learned and the schedules
    adapters: LayerChanges | None  # learned changes of layers, if there are any
    joint_head: Any  # more logits, from raw features (joint_head.py), learned too; None without
    # unit class features (C, E) in place of the text side's, and a module after the image side: from raw features
    # (B, E) to those that cosines are computed of; a learner without these leaves both out
    given_text: Tensor
    projection: nn.Module
    reads = False  # whether its prompts make a second feature of each image (engine/read_out.py); `logits` uses both
    trained_on: tuple[str, ...] | None = None  # class names; () if unknown; None if they do not matter

    # how names of parameters begin that are made in CLIP's type; the others are float32
    in_clip_type: tuple[str, ...] = ("ctx",)

    prompt_text: ClassPrompts
    position = "end"  # of the class name
    words_type: torch.dtype | None = None  # of embedded words; None for CLIP's
    averaged: tuple[str, ...] = ()  # templates whose embedded words are averaged; the prompts say where a class ends
    ctx: Tensor  # (n, T), or (C, n, T) for single classes, with `described` for their single prompts

    not_read: tuple[str, ...] = ()  # how names in its repository's checkpoints begin that are not learned

    # frozen class features (C, E), of length 1, with which class features are blended; image features are blended with
    # those of the same CLIP, or of another's image side, `frozen_visual`; a learner that does not blend leaves both out
    frozen_text: Tensor
    frozen_visual: Any
    sentences: Any = None  # for frozen class features (methods/parts/sentences.py), if a file has them

    described: Described | None = None  # phrases, which make several prompts of a class
    pooling: Pooling | None  # pools features of several prompts; None with one prompt per class
    # (image (B, E), text (C, E) or (B, C, E), exp(logit_scale)) to logits (B, C), with parameters of its own; a learner
    # with scaled cosines leaves it out
    logits: nn.Module

    def __init__(self, schedules: Schedules, prefix: str, ending: str = "."):
        super().__init__()
        self.schedules = schedules
        self.prefix = prefix  # the words before a class name
        self.ending = ending  # those after it, if it comes after the context
        self.pooling = None
        self.adapters = None
        self.joint_head = None

    @property
    def beginning(self) -> str:
        """What a training starts from, as text for its log."""
        ensemble = f", the mean of {len(self.averaged)} templates" if self.averaged else ""
        return f'Initial context: "{self.prefix}"{ensemble}'

    @property
    def writes(self) -> bool:
        """Whether the next call writes into the parameters."""
        return False

    @property
    def bound(self) -> bool:
        """Whether what is learned belongs to its classes (CSC)."""
        return self.ctx.dim() == 3

    def put_in(self, classnames: Sequence[str], clip_model: CLIP) -> None:
        """Make the class prompts of these names.

        Raises:
            UserError: if one is longer than the text context, or a class has no phrase where there are phrases.
        """
        names = classnames
        if self.described is not None:
            names, counts = self.described.prompts(classnames)
            self.pooling = Pooling(counts, self.described.pooled)
        self.prompt_text = class_prompts(
            class_texts(names, self.prefix, self.ending),
            names,
            self._n_among_words(),
            clip_model,
            self.position,
            self.bound,
            self.words_type,
            self.needs_image,
            [template_texts(classnames, template) for template in self.averaged],
        )

    def _n_among_words(self) -> int:
        """Number of words that the context replaces."""
        return self.ctx.shape[-2] if self.schedules.text.place == BEHIND_START else 0

    def with_first(self, first: Tensor, additions: Additions) -> tuple[ClassTokens, Additions]:
        """Class prompts and additions of the text side.

        Args:
            first: tokens of layer 0: (n, T), (C, n, T) for single classes, or (B, 1, n, T) for single images; put among
                the words, or before the start token where the schedule says so.
            additions: of the other layers.
        """
        if self.schedules.text.place == BEHIND_START or not first.shape[-2]:
            return self.prompt_text(first), additions
        tokens = first[:, 0] if first.dim() == 4 else first
        return self.prompt_text(first[..., :0, :]), [tokens, *additions[1:]]

    def take(self, adapters: LayerChanges) -> None:
        """Add learned changes of layers."""
        self.adapters = adapters
        self.trains_text, self.changes_images = self.trains_text or adapters.on_text, adapters.on_images

    def take_head(self, head: JointHead) -> None:
        """Add a joint head, which is learned too."""
        self.joint_head, self.trained_on = head, head.trained_on.names
        self.in_clip_type = (*self.in_clip_type, f"{HEAD}linear_probe_proj.")

    def adapted(self, prompts: Prompts) -> Prompts:
        """Prompts with the current adapters, if there are any."""
        if self.adapters is None:
            return prompts
        text, vision = map(len, self.schedules)
        changes = self.adapters.text_changes(text), self.adapters.vision_changes(vision)
        return prompts._replace(text_changes=changes[0], vision_changes=changes[1])

    def testing(self) -> contextlib.AbstractContextManager[None]:
        """The context in which a trainer tests or validates."""
        return contextlib.nullcontext()

    def stands_on(self) -> dict[str, str]:
        """What it was made with besides settings and CLIP, {name: text}: a training resumes only with the same."""
        return {}

    def require_stands_on(self, stated: Mapping[str, Any], path: str) -> None:
        """Raise UserError if a file was made with something else that matters; `stated` describes its method."""

    def learned_on(self, classes: Classes) -> None:
        """Set the classes that the loaded parameters were trained on; none means that nobody knows.

        Raises:
            UserError: if they do not fit these classes.
        """
        if self.joint_head is not None:
            self.joint_head.learned_on(classes)
            self.trained_on = self.joint_head.trained_on.names

    def said_of(self, names: Sequence[str]) -> str:
        """What users must know of answers for these classes, in a sentence; empty if nothing."""
        if self.joint_head is None:
            return ""
        own = self.joint_head.classes
        said: str = self.joint_head.said_of(own if own.names == tuple(names) else own._replace(names=names, which=()))
        return said

    def mark(self) -> str:
        """As a method's mark, where it depends on the classes; empty for none."""
        return ""

    def take_sizes(self, state: Mapping[str, Tensor]) -> None:
        """Adopt sizes of a checkpoint's tensors, named as in the learner, where settings need not agree."""
        if self.joint_head is not None:
            own = {name[len(HEAD) :]: one for name, one in state.items() if name.startswith(HEAD)}
            self.joint_head.take_sizes(own)

    def for_classes(self, classnames: Sequence[str], clip_model: CLIP) -> "Learner":
        """The same parameters, shared, for other class names.

        Raises:
            UserError: if what is learned belongs to its classes, or a prompt is longer than the text context.
        """
        if self.bound:
            raise UserError("these prompts belong to their classes (CSC): they cannot be used with other names")
        other = copy.copy(self)
        for kept in ("_parameters", "_buffers", "_modules"):
            other.__dict__[kept] = copy.copy(self.__dict__[kept])
        other.put_in(classnames, clip_model)
        return other.to(next(self.buffers()).device) if len(list(self.buffers())) else other

    def trained(self) -> dict[str, nn.Parameter]:
        """The parameters for a training's optimiser, by name."""
        return dict(self.named_parameters())

    def cast(self, dtype: torch.dtype) -> None:
        """Cast, in place, what was made in CLIP's type, and all embedded words; the rest is float32."""
        self.words_type = dtype
        words = ("prompt_text", "texts")
        for name, tensor in (*self.named_parameters(), *self.named_buffers()):
            if tensor.is_floating_point():
                tensor.data = tensor.data.to(dtype if name.startswith((*self.in_clip_type, *words)) else torch.float32)

    def beside(self) -> dict[str, Tensor]:
        """What a file holds in addition to what is learned, by its names there; `not_read` covers these names."""
        return {}

    def take_beside(self, state: Mapping[str, Tensor], path: str) -> None:
        """Take these from a file's state dict; UserError if what is needed is not there."""

    def of_repository(self, content: Mapping[str, Any], path: str) -> Mapping[str, Any]:
        """A file's state dict, under our names, also for what its repository keeps in another form.

        Raises:
            UserError: if such a file does not fit.
        """
        return content

    def as_repository(self) -> dict[str, Any] | None:
        """The content of a file in its repository's own form; None if there is no other form."""
        return None

    @staticmethod
    def checkpoint_key(name: str) -> str:
        """A parameter's name in checkpoints of the family; by default its own."""
        return name
