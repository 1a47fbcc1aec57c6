"""A prompted CLIP whose CLIP is shared, with the user and other models: casts and moves reach all of them."""

import logging
import warnings
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn

from modprompt.clip.cast import cast_products, exact, exact_copy, moved, note_rounding, rounded_to
from modprompt.clip.facts import ClipFacts, called, facts_of
from modprompt.clip.towers import CLIP, STOCK_TEXT, TowerCLIP, has_stock_text, has_tower, text_parameters
from modprompt.engine import precision
from modprompt.engine.model import Output, PromptedCLIP
from modprompt.engine.prompts import Prompts
from modprompt.engine.weight_cache import WeightRecord, is_compiling
from modprompt.errors import UserError
from modprompt.methods.parts.learners import Learner
from modprompt.methods.parts.losses import Objective

LOG = logging.getLogger("modprompt")
M = TypeVar("M", bound="OnSharedClip")


def warn_of_rounding(clip_model: nn.Module) -> None:
    """Warn that the matrices of a CLIP are not those that it was loaded with."""
    warnings.warn(
        f"The weights of {called(clip_model)} were rounded to {rounded_to(clip_model)} by an earlier cast. Load "
        "the CLIP model again for exact weights.",
        stacklevel=3,
    )


def require_clip(clip_model: nn.Module) -> CLIP:
    """The same module, known to be a CLIP from here on; UserError if it is none, or of a type that none has."""
    parts = () if isinstance(clip_model, TowerCLIP) else ("visual", *STOCK_TEXT)
    missing = [name for name in parts if not hasattr(clip_model, name)]
    if missing:
        what = f"{type(clip_model).__module__}.{type(clip_model).__name__}"
        raise UserError(
            f"{what} is not a model of the `clip` package, because it has no attribute {missing[0]}. Pass the model, "
            "which is the first of the values that modprompt.load_clip and clip.load return."
        )
    kind = getattr(clip_model, "dtype", None)
    if kind not in (torch.float32, torch.float16):
        raise UserError(
            f"CLIP weights of type {kind} are not supported. Pass the CLIP model in float32, or in float16 on a GPU. "
            "To compute in bfloat16, call .to(torch.bfloat16) on the model that .on() returns."
        )
    return cast(CLIP, clip_model)


class OnSharedClip(PromptedCLIP):
    """The part of a model that keeps its CLIP, and casts and moves it for all that share it.

    Args:
        learner: the prompts.
        clip_model: a stock CLIP.
        keeps_exact: whether the objective needs features by CLIP's weights as they were before a cast.
    """

    prompt_learner: Learner
    clip_model: CLIP

    def __init__(self, learner: Learner, clip_model: nn.Module, keeps_exact: bool):
        clip = cast(CLIP, clip_model)
        super().__init__(learner, clip)
        # not a submodule: the parts of it that are run are submodules already
        self.__dict__["clip_model"] = clip
        self.products = clip.dtype  # type of the matrices as this model knows them
        self._text_weights: WeightRecord | None = WeightRecord(text_parameters(clip))
        self.prec = ""  # by the last cast; empty if there was none
        self.keeps_exact = keeps_exact
        self._exact: CLIP | None = None
        self._objective: Objective | None = None

    @property
    def clip_facts(self) -> ClipFacts:
        """What is known of its CLIP."""
        return facts_of(self.clip_model, anew=any(one.requires_grad for one in self.clip_model.parameters()))

    def exact_clip(self) -> CLIP:
        """The CLIP in float32, with the weights that it had before any cast; warns if they are lost."""
        return exact(self.clip_model) if self._exact is None else moved(self._exact, self.logit_scale.device)

    def cast(self, prec: str) -> None:
        """Compute in a PREC: fp32, fp16, bf16 or amp, on the model's device. The CLIP is cast with it.

        What a cast to a shorter type has rounded, no later cast restores; a warning says so.

        Raises:
            UserError: on another value.
        """
        self.require_text_weights()
        how = precision.resolve(prec, self.logit_scale.device)
        if how.note:
            LOG.info(how.note)
        wanted = torch.float16 if how.half_weights else how.products or torch.float32
        if wanted != self.products:
            facts_of(self.clip_model)  # while its weights are whole
            if self._exact is None and self._objective is None and self.keeps_exact:
                self._exact = exact_copy(self.clip_model)
            self._cast_clip(wanted)
        if self.frozen_encoder is not None and self.frozen_encoder.visual is not self.clip_model.visual:
            cast_products(self.frozen_encoder.visual.float(), wanted)
        if wanted != self.products:
            self._text_weights = WeightRecord(text_parameters(self.clip_model))
        self.products, self.prec = wanted, prec
        if isinstance(self.prompt_learner, Learner):
            self.prompt_learner.cast(torch.float16 if how.half_weights else torch.float32)
        in_float = how.half_weights and has_tower(self.clip_model)  # features of a tower are float32
        self.set_stream(torch.float32 if in_float else how.stream)
        self._kept = None

    def _cast_clip(self, wanted: torch.dtype) -> None:
        clip_model = self.clip_model
        if clip_model.dtype == wanted:
            return  # another model of this CLIP has done it
        if clip_model.dtype != torch.float32:
            clip_model.float()
        if not cast_products(clip_model, wanted):
            note_rounding(clip_model, wanted)
        elif rounded_to(clip_model):
            warn_of_rounding(clip_model)

    def set_stream(self, stream: torch.dtype | None) -> None:
        super().set_stream(stream)
        if self._objective is not None:
            for teacher in self._objective.teachers:
                teacher.set_stream(stream)

    def require_text_weights(self) -> None:
        """Raise UserError if the text weights of CLIP are not those of which the class prompts were made."""
        if is_compiling():  # which cannot look at what is kept
            return
        if self._text_weights is None:  # in a copy
            self._text_weights = WeightRecord(text_parameters(self.clip_model))
        if not self._text_weights.is_current():
            raise UserError(
                f"The text weights of {called(self.clip_model)} have changed since this model was created, so its "
                "class prompts no longer fit. Create the model again with .on(clip_model, names)."
            )

    def _of_text_side(self) -> tuple[Prompts, Tensor, Tensor | None]:
        self.require_text_weights()
        return super()._of_text_side()

    def of_features(self, features: Tensor) -> Output:
        if self.prompt_learner.needs_image:
            self.require_text_weights()
        return super().of_features(features)

    def _require_own_type(self) -> None:
        mine, there = self.products, self.clip_model.dtype
        if mine != there:
            raise UserError(
                f"The weights of {called(self.clip_model)} are shared by several models and were cast to {there}, but "
                f"this model was created for {mine}. Cast this model too, with .float(), .half() or "
                ".to(torch.bfloat16)."
            )

    def half(self: M) -> M:
        """PREC fp16, on CUDA; UserError on a CPU, where half precision is slower than float32."""
        if self.logit_scale.device.type == "cpu":
            raise UserError(
                "half() is not supported on a CPU, where float16 is slower than float32. Move the model to a GPU "
                "first, or use .to(torch.bfloat16)."
            )
        self.cast("fp16")
        return self

    def bfloat16(self: M) -> M:
        """PREC bf16: products in bfloat16, all else float32."""
        self.cast("bf16")
        return self

    def float(self: M) -> M:
        self.cast("fp32")
        return self

    def double(self: M) -> M:
        return self.type(torch.float64)

    def type(self: M, dst_type: Any) -> M:
        """As half(), bfloat16() or float(); UserError on another type."""
        casts = {torch.float32: self.float, torch.float16: self.half, torch.bfloat16: self.bfloat16}
        if dst_type not in casts:
            raise UserError(
                f"This model computes in float32, float16 or bfloat16, but the requested type is {dst_type}."
            )
        return casts[dst_type]()

    def to(self: M, *args: Any, **kwargs: Any) -> M:
        """As nn.Module.to; a type means what half(), bfloat16() or float() mean."""
        device, dtype, non_blocking, _ = torch._C._nn._parse_to(*args, **kwargs)
        if device is not None:
            super().to(device, non_blocking=non_blocking)
        return self if dtype is None else self.type(dtype)

    def _apply(self: M, fn: Any, *args: Any, **kwargs: Any) -> M:
        # a cast of a module around this one arrives here, and means what the model's own cast does
        device = self.logit_scale.device
        found = [fn(torch.empty(0, dtype=dtype, device=device)) for dtype in (torch.float32, self.products)]
        if [one.dtype for one in found] != [torch.float32, self.products]:
            return self.to(found[0].device).type(found[0].dtype)
        super()._apply(fn, *args, **kwargs)  # type: ignore[no-untyped-call]  # PyTorch's
        if has_stock_text(self.clip_model):
            self.clip_model.token_embedding._apply(fn)  # the only part that is not run, but must move along
        return self

    def __getstate__(self) -> dict[str, Any]:
        # a teacher with exact weights cannot be made again; other objectives can, and need not be picklable
        kept = self._objective if self.keeps_exact else None
        if "clip_model" in self.__dict__:  # a classifier that is taken out of the model has no CLIP
            self.require_text_weights()  # a copy has its own record, of the weights that it is made with
        return {**super().__getstate__(), "_objective": kept, "_text_weights": None}
