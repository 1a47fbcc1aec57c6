"""A frozen CLIP with a prompt learner in front: the model that prompt learning trains.

Shapes: B images, C classes, E joint width.
"""

import contextlib
import copy
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, Protocol, TypeVar, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from modprompt.clip.towers import CLIP
from modprompt.engine import weight_cache
from modprompt.engine.class_prompts import ClassPrompts
from modprompt.engine.encoders import Below, TextEncoder, image_encoder, no_additions, text_encoder, unprompted
from modprompt.engine.layer_change import draws
from modprompt.engine.memory import free_bytes
from modprompt.engine.pooling import Pooling
from modprompt.engine.precision import autocast_type
from modprompt.engine.prompts import ClassTokens, Prompts
from modprompt.engine.schedule import Schedules
from modprompt.engine.text_layout import TextTokens, apart

P = TypeVar("P", bound="PromptedCLIP")
N = TypeVar("N", bound=nn.Module)


def beside(module: N) -> N:
    """A copy of a module that shares all its parts; attributes and parts set on the copy leave the module alone."""
    other = copy.copy(module)
    other.__dict__.update({name: copy.copy(one) for name, one in vars(other).items() if isinstance(one, dict)})
    return other


class Output(NamedTuple):
    """What a model computes for images: logits (B, C), normalised image features (B, E) and class features.

    Class features are (C, E), or (B, C, E) where they depend on the image; normalised, unless they are the mean of a
    class's prompts that stands for the mean of their logits (pooling.py).

    each: two logits (B, C), from which `logits` are made. With a second feature of each image (read_out.py): those by
        the image's own feature, and those by the second. With a joint head: scaled cosines, and the head's logits.
    raw: with a joint head, image and class features before they are normalised.
    frozen: with features that are blended with frozen ones, the frozen ones of the images (B, E), of length 1.
    """

    logits: Tensor
    image: Tensor
    text: Tensor
    each: tuple[Tensor, ...] = ()
    raw: tuple[Tensor, ...] = ()
    frozen: tuple[Tensor, ...] = ()

    def map(self, change: Callable[[Tensor], Tensor]) -> "Output":
        """A copy with `change` applied to each of its tensors."""
        parts = (tuple(map(change, part)) for part in (self.each, self.raw, self.frozen))
        return Output(change(self.logits), change(self.image), change(self.text), *parts)


def blended(own: Tensor, frozen: Tensor) -> Tensor:
    """Features of length 1: normalised ones plus frozen ones of length 1, normalised (HiCroPL, arXiv 2507.14976)."""
    return F.normalize(F.normalize(own, dim=-1) + frozen.to(own.dtype), dim=-1)


class _Kept(NamedTuple):
    """Prompts and class features, for one state of all that they are made of; `raw` as in _features_of."""

    state: tuple[Any, ...]
    learned: list[Tensor]
    prompts: Prompts
    text: Tensor
    raw: Tensor | None


class _Begun(NamedTuple):
    """Class prompts after the text layers that nothing learned reaches, for one state of what they are made of."""

    state: tuple[Any, ...]
    below: Below


def same_values(kept: list[Tensor], now: list[Tensor]) -> bool:
    """Whether tensors of the same shapes, types and device are equal: optimisers with fused=True leave no other trace.

    On CUDA it waits once, not once per tensor.
    """
    if not now or now[0].device.type == "cpu":
        return all(torch.equal(old, new) for old, new in zip(kept, now))
    return not bool(torch.stack([(old != new).any() for old, new in zip(kept, now)]).any())


class PromptLearner(Protocol):
    """What a model needs of a learner, which is a module (methods/parts/learners.py)."""

    schedules: Schedules
    prompt_text: ClassPrompts
    trains_text: bool  # whether class features change in training
    needs_image: bool  # whether a call needs normalised image features (B, E) of the CLIP without prompts
    changes_images: bool  # whether its Prompts have changes of the vision side's layers
    literal_scale: float  # factor of cosines; 0: exp(logit_scale) of the CLIP
    pooling: Pooling | None  # for several prompts a class
    # (unit image (B, E), text (C, E) or (B, C, E), scale) to logits (B, C); None for scaled cosines
    logits: Any
    # whether the prompts make a second feature of each image: then `logits` has `each(...)`, the logits by either
    # feature, and `made_of(each)`, the logits that are made of these
    reads: bool
    # `each(image, text, cosines, scale)` gives scaled cosines and its own logits (B, C) from raw image (B, E) and class
    # features, or only the cosines where it knows too little of a class; `made_of(each)` as above
    joint_head: Any
    given_text: Tensor | None  # unit class features (C, E) in place of the text side's, which is not run then
    class_rows: nn.Module | None  # from unit class features (C, E) to those that cosines are computed of, float32
    projection: nn.Module | None  # from raw image features to those that cosines are computed of
    # frozen class features (C, E) of length 1, with which class features are blended; image features are blended with
    # those of `frozen_visual`, or where it is None of the CLIP's own image side without prompts
    frozen_text: Tensor | None
    frozen_visual: Any

    @property
    def writes(self) -> bool:
        """Whether the next call writes into its parameters, so that nothing of it may be kept."""

    def __call__(self, *inputs: Any) -> Prompts:
        """The current prompts."""

    def parameters(self) -> Iterator[nn.Parameter]:
        """All that is trained."""

    def buffers(self) -> Iterator[Tensor]:
        """What is not trained."""

    def train(self, mode: bool = True) -> Any:
        """Set the mode."""


class PromptedCLIP(nn.Module):
    """Logits of images over class prompts; only the prompt learner has trainable parameters.

    Class features that cannot change from call to call are kept: those that nothing learns, and in eval mode without
    gradients all. They are computed again as soon as a parameter that they are made of has changed.

    Args:
        prompt_learner: a Learner: its call gives Prompts, and its attributes say what it can do.
        clip_model: a stock CLIP; its parameters are frozen here.
        stream: type of the tokens between products and of all that comes after; None for that of the weights.
    """

    def __init__(self, prompt_learner: PromptLearner, clip_model: CLIP, stream: torch.dtype | None = None):
        super().__init__()
        clip_model.requires_grad_(False)
        self.prompt_learner = prompt_learner
        self.image_encoder = image_encoder(clip_model.visual, prompt_learner.schedules.vision, stream)
        self.text_encoder = text_encoder(clip_model, prompt_learner.schedules.text, stream)
        self.frozen_encoder: Any = None  # for the features that image features are blended with
        if prompt_learner.frozen_text is not None:
            self.frozen_encoder = unprompted(prompt_learner.frozen_visual or clip_model.visual, stream)
        self.stream = stream
        self.logit_scale = clip_model.logit_scale
        self._kept: _Kept | None = None
        self._begun: _Begun | None = None
        self._unchanging = False  # whether values need not be compared
        self._made: Prompts | None = None  # what the learner returns while that is so

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_kept": None, "_begun": None, "_made": None}

    def set_stream(self, stream: torch.dtype | None) -> None:
        """Set the type of the tokens between products; None for that of the weights."""
        self.stream = self.image_encoder.stream = self.text_encoder.stream = stream
        if self.frozen_encoder is not None:
            self.frozen_encoder.stream = stream

    def limit_text(self, classes: int = 0) -> None:
        """Compute the text side of `classes` classes at a time; with 0, of as many as fit in a share of free memory.

        With more classes than that, the backward pass computes each part again instead of keeping it.
        """
        encoder, text = self.text_encoder, self.prompt_learner.prompt_text
        if classes:
            pooling = self.prompt_learner.pooling
            prompts = classes * (1 if pooling is None else pooling.most)
            encoder.most_tokens = prompts * max(group.length for group in text.groups)
        else:
            encoder.most_tokens = encoder.most_of(text, free_bytes(encoder.device))

    @property
    def own_tokens(self) -> int:
        """How many tokens all classes have after their shared beginning, padding included."""
        return sum(len(group.classes) * group.length for group in self.prompt_learner.prompt_text.groups)

    def train(self: P, mode: bool = True) -> P:
        """Set the learner's mode and forget what changes; CLIP stays frozen, also the batch statistics of a ResNet."""
        weight_cache.forget(self)
        self._begun = None
        self.set_mode(mode)
        return self

    def set_mode(self, mode: bool) -> None:
        """As train, if nobody has written into CLIP through `.data` since: what a GPU keeps of its weights stays."""
        self.training = mode
        self._forget_what_changes()
        self.prompt_learner.train(mode)

    def _forget_what_changes(self) -> None:
        self._made = None
        if self.prompt_learner.trains_text:
            self._kept = None

    def _streamed(self, features: Tensor) -> Tensor:
        return features.to(self.stream or features.dtype)

    def _unit(self, features: Tensor) -> Tensor:
        return F.normalize(self._streamed(features), dim=-1)

    @property
    def joint_head(self) -> Any:
        """The module that computes logits of raw image and class features in addition to cosines; None without one."""
        return self.prompt_learner.joint_head

    def raw_features(self, text: ClassTokens, prompts: Prompts) -> Tensor:
        """The text side's features of class prompts, (1 or B, C, E); of length 1 where they are blended."""
        below = self._below(text, prompts)
        made = cast(Tensor, self.text_encoder(text, prompts.text_additions, prompts.text_changes, *below))
        frozen = self.prompt_learner.frozen_text
        return made if frozen is None else blended(self._streamed(made), frozen)

    def _below(self, text: ClassTokens, prompts: Prompts) -> list[Below]:
        """Where the text side starts in training: layers that nothing learned reaches are computed only once."""
        encoder, learner = self.text_encoder, self.prompt_learner
        if not (isinstance(encoder, TextEncoder) and torch.is_grad_enabled()):
            return []
        if weight_cache.is_compiling():  # which cannot look at what is kept
            return []
        if not isinstance(text, TextTokens) or text is not prompts.text:  # an ensemble has several
            return []
        layers = encoder.untouched(text, prompts.text_additions, prompts.text_changes)
        if not layers:
            return []
        made_of = [*learner.buffers(), *encoder.parameters()]
        kind = autocast_type(self.logit_scale.device)
        masks = draws(prompts.text_changes)
        state = (layers, masks, encoder.most_tokens, self.stream, kind, *weight_cache.state_of(made_of))
        if self._begun is None or self._begun.state != state:
            self._begun = _Begun(state, encoder.below(apart(text) if masks else text, layers))
        return [self._begun.below]

    def _encode_text(self, text: ClassTokens, prompts: Prompts) -> Tensor:
        features, pooling = self.raw_features(text, prompts), self.prompt_learner.pooling
        if pooling is None or prompts.one_each:
            return self._unit(features)  # (1 or B, C, E)
        pooled: Tensor = pooling(self._streamed(features))
        return pooled

    def _features_of(self, prompts: Prompts) -> tuple[Tensor, Tensor | None]:
        """Class features (C, E), and the same before they are normalised where a joint head needs them."""
        if self.joint_head is None:
            return self._class_features(prompts), None
        raw = self._streamed(self.raw_features(cast(ClassTokens, prompts.text), prompts)[0])
        return self._unit(raw), raw

    def _class_features(self, prompts: Prompts) -> Tensor:
        if not isinstance(prompts.text, list):
            return self._encode_text(prompts.text, prompts)[0]
        each = [self._encode_text(text, prompts)[0] for text in prompts.text]
        return F.normalize(sum(each[1:], each[0]) / len(each), dim=-1)

    @contextlib.contextmanager
    def unchanging(self) -> Iterator[None]:
        """Within it no parameter is written, so what is kept is used without comparing values: that waits for a GPU."""
        self._forget_what_changes()
        self._unchanging = True
        try:
            yield
        finally:
            self._unchanging, self._made = False, None

    def _prompts_now(self) -> Prompts:
        """What the learner returns now; it is called once where no parameter is written."""
        if not self._unchanging or torch.is_grad_enabled() or self.prompt_learner.writes:
            return self.prompt_learner()
        if self._made is None:
            self._made = self.prompt_learner()
        return self._made

    def _fixed(self) -> bool:
        """Whether class features need not be computed again at every call."""
        if self.prompt_learner.writes:
            return False
        return not self.prompt_learner.trains_text or not (self.training or torch.is_grad_enabled())

    def _current(self) -> tuple[Prompts, Tensor, Tensor | None]:
        """The current prompts and class features, the latter as in _features_of."""
        prompts, text, raw = self._of_text_side()
        rows = self.prompt_learner.class_rows
        return prompts, text if rows is None else rows(text), raw

    def _of_text_side(self) -> tuple[Prompts, Tensor, Tensor | None]:
        learner = self.prompt_learner
        if learner.given_text is not None:
            return self._prompts_now(), learner.given_text, None
        if not self._fixed():
            prompts = learner()
            return (prompts, *self._features_of(prompts))
        learned = [x.detach() for x in learner.parameters()] if learner.trains_text else []
        made_of = [*learned, *learner.buffers(), *self.text_encoder.parameters()]
        state = (self.stream, autocast_type(self.logit_scale.device), *weight_cache.state_of(made_of))
        kept = self._kept
        if kept is None or kept.state != state or not (self._unchanging or same_values(kept.learned, learned)):
            with torch.inference_mode(False), torch.no_grad():  # they may serve in a training step later
                prompts = self._prompts_now()
                copies = [x.clone() for x in learned]
                kept = self._kept = _Kept(state, copies, prompts, *self._features_of(prompts))
        if self._prompts_may_differ():
            return self._prompts_now(), kept.text, kept.raw
        return kept.prompts, kept.text, kept.raw

    def _prompts_may_differ(self) -> bool:
        """Whether the vision side's prompts may differ from those at the time when class features were computed."""
        return torch.is_grad_enabled() or not (self.prompt_learner.trains_text or self._learns_nothing())

    def _learns_nothing(self) -> bool:
        return next(self.prompt_learner.parameters(), None) is None

    def _logits(self, features: Tensor, text: Tensor, raw: Tensor | None = None) -> Output:
        image = self.unit_image(features)
        if self.prompt_learner.given_text is not None:  # which is float32, whatever the type of images
            text = text.to(image.dtype)
        if raw is not None:
            features = self._streamed(features)
            each = self.joint_head.each(features, raw, self.logits(image, text), self.cosine_scale())
            return Output(self.joint_head.made_of(each), image, text, each, (features, raw))
        if not self.reads:
            return Output(self.logits(image, text), image, text)
        own = self.prompt_learner.logits
        each = own.each(image, text, self.cosine_scale())
        return Output(own.made_of(each), image[:, : text.shape[-1]], text, each)

    @property
    def reads(self) -> bool:
        """Whether each image has a second feature, read out of its prompt tokens."""
        return self.prompt_learner.reads

    def unit_image(self, features: Tensor) -> Tensor:
        """Image features (B, E), projected if there is a projection, and normalised; of two (B, 2 E) each by itself."""
        if not self.reads:
            projection = self.prompt_learner.projection
            return self._unit(features if projection is None else projection(features))
        return self._unit(features.unflatten(1, (2, features.shape[1] // 2))).flatten(1)

    def cosine_scale(self) -> Tensor:
        """The factor of cosines, a scalar: CLIP's exp(logit_scale), or a learner's literal."""
        own, literal = self.logit_scale.exp(), self.prompt_learner.literal_scale
        return torch.full_like(own, literal) if literal else own

    def logits(self, image: Tensor, text: Tensor) -> Tensor:
        """Logits (B, C) of image features (B, E) from unit_image and of class features (C, E) or (B, C, E).

        cosine_scale() * cosine (CLIP, arXiv 2103.00020), unless the learner or a subclass computes them otherwise.
        """
        scale, own = self.cosine_scale(), self.prompt_learner.logits
        if own is not None:
            return cast(Tensor, own(image, text, scale))
        if text.dim() == 3:
            return scale * (text @ image[:, :, None])[:, :, 0]
        return scale * image @ text.t()

    def output(self, image: Tensor) -> Output:
        """Logits and features of images (B, 3, H, W)."""
        if self.prompt_learner.needs_image:
            return self._of_each(self.encode_image(image))
        prompts, text, raw = self._current()
        features = self._image_features(image, prompts)
        if self.frozen_encoder is None:
            return self._logits(features, text, raw)
        frozen = self.frozen_features(image)
        return self._logits(self._blended(features, frozen), text)._replace(frozen=(frozen,))

    @torch.no_grad()
    def frozen_features(self, image: Tensor) -> Tensor:
        """The features that those of images (B, 3, H, W) are blended with: (B, E), of length 1."""
        return self._unit(self.frozen_encoder(image, no_additions(self.frozen_encoder)))

    def _blended(self, features: Tensor, frozen: Tensor) -> Tensor:
        return blended(self._streamed(features), frozen)

    def _image_features(self, image: Tensor, prompts: Prompts) -> Tensor:
        more = (None, prompts.read) if self.reads else ()
        return cast(Tensor, self.image_encoder(image, prompts.vision_additions, prompts.vision_changes, *more))

    def encode_image(self, image: Tensor) -> Tensor:
        """Features (B, E) of images (B, 3, H, W), not normalised; with what the learner does to the vision side.

        (B, 2 E) where each image has a second feature; of length 1 where they are blended with frozen ones.
        """
        features = self._image_features(image, self.vision_prompts())
        return features if self.frozen_encoder is None else self._blended(features, self.frozen_features(image))

    @property
    def prompts_images(self) -> bool:
        """Whether image features change with what is learned: by vision prompts, or by changes of layers."""
        learner = self.prompt_learner
        return bool(learner.schedules.vision.depth) or learner.changes_images

    def vision_prompts(self) -> Prompts:
        """The current prompts for the vision side; their text side may be missing."""
        vision = self.prompt_learner.schedules.vision
        return self._prompts_now() if self.prompts_images else Prompts([], [], [None] * len(vision))

    def class_features(self) -> Tensor:
        """The current class features (C, E), as in `Output`; for learners that need no image."""
        return self._current()[1]

    @property
    def feature_type(self) -> torch.dtype:
        """The type of encode_image's features."""
        return autocast_type(self.logit_scale.device) or self.image_encoder.feature_type

    def of_features(self, features: Tensor) -> Output:
        """As `output`, from features of encode_image, in whatever type they were kept."""
        features = features.to(self.feature_type)
        if self.prompt_learner.needs_image:
            return self._of_each(features)
        return self._logits(features, *self._current()[1:])

    def _of_each(self, features: Tensor) -> Output:
        """The output for image features (B, E), where each image has class prompts of its own."""
        image = self._unit(features)
        prompts = self.prompt_learner(image)
        tokens = cast(ClassTokens, prompts.text)  # no ensemble depends on the image
        if self.joint_head is not None:
            raw = self._streamed(self.raw_features(tokens, prompts))
            return self._logits(features, self._unit(raw), raw)
        text = self._encode_text(tokens, prompts)  # (B, C, E)
        return Output(self.logits(image, text), image, text)

    def forward(self, image: Tensor) -> Tensor:
        """Logits (B, C) of images (B, 3, H, W)."""
        return self.output(image).logits
