"""Multi-Modal Adapter (MMA, CVPR 2024): bottlenecks parallel to the upper blocks of both sides, with a shared middle.

Shapes: T text width.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch

from modprompt.clip.build import layers_of
from modprompt.clip.towers import CLIP, image_width, text_width
from modprompt.engine.prompts import Prompts
from modprompt.engine.schedule import Schedules, Shape, no_prompts
from modprompt.engine.text_layout import TextTokens
from modprompt.errors import SettingError, UserError
from modprompt.fields import setting
from modprompt.methods.base import Method
from modprompt.methods.parts.adapters import Adapters
from modprompt.methods.parts.classes import Classes
from modprompt.methods.parts.learner import Learner
from modprompt.methods.together import Addition, require_takes

M = TypeVar("M", bound=Method)


@dataclass(frozen=True, repr=False)
class MultiModalAdapter(Addition):
    """MMA: adapters in the layers from ADAPTER_START to ADAPTER_END of both sides, no prompts; not on ResNets."""

    node = "TRAINER.MMADAPTER"
    folder = "adapter_learner"
    prefix = ""
    prec = "amp"
    wants_vision = True

    text_ctx_init: str = setting("", "words before the class name", kept=True)
    adapter_start: int = setting(4, "first layer with an adapter, counted from 1; 0 is before the first layer", least=0)
    adapter_end: int = setting(12, "last layer with an adapter, counted from 1", least=0)
    adapter_dim: int = setting(32, "width of the bottlenecks", least=1)
    adapter_scale: float = setting(0.1, "factor of what is added")
    joins: bool = setting(
        False, "whether CoOp and MPL get these adapters beside their prompts", key="ON", compared=False
    )

    def check(self) -> None:
        super().check()
        if not self.adapter_scale:
            raise SettingError([("ADAPTER_SCALE", " must not be 0: nothing would be learned")])
        if self.joins:
            require_takes(type(self).__name__, "MMADAPTER")

    def schedules(self, shape: Shape) -> Schedules:
        """No prompts on either side.

        Raises:
            SettingError: if one side has no such layer, or the range has none.
        """
        self._require_layers(shape)
        return Schedules(no_prompts(shape.text_layers, "text"), no_prompts(shape.vision_layers))

    def _require_layers(self, shape: Shape) -> None:
        layers = min(shape)
        if self.adapter_end > layers:
            text = f" must be at most {layers}, the number of layers of the shorter side, got {self.adapter_end}"
            raise SettingError([("ADAPTER_END", text)])
        if self.adapter_start > self.adapter_end:
            text = f" {self.adapter_start} is after ADAPTER_END {self.adapter_end}: no layer has an adapter"
            raise SettingError([("ADAPTER_START", text)])

    def learner(self, clip_model: CLIP, classes: Classes, schedules: Schedules) -> "AdapterLearner":
        """The adapters, and class names after the words."""
        adapters = self._adapters(clip_model)
        return AdapterLearner(classes.names, clip_model, schedules, self.text_ctx_init, adapters)

    def _adapters(self, clip_model: CLIP) -> Adapters:
        layers = range(self.adapter_start, self.adapter_end + 1)
        widths = (text_width(clip_model), image_width(clip_model))
        return Adapters(widths, layers, self.adapter_dim, self.adapter_scale)

    def over(self, method: M) -> M:
        """CoOp or MPL with these adapters beside its prompts, trained together.

        Raises:
            SettingError: on another method, one that searches for its schedule, or ADAPTER_START 0.
        """
        found = super().over(method)
        if not self.adapter_start:
            raise SettingError([("ADAPTER_START", " 0 adapts words, which are learned here: use 1 or more")])
        return found

    def join(self, learner: Learner, again: Callable[[], Learner], clip_model: CLIP, classes: Classes) -> Learner:
        """A method's learner with adapters."""
        self._require_layers(Shape(*layers_of(clip_model)))
        learner.take(self._adapters(clip_model))
        return learner


class AdapterLearner(Learner):
    """Fixed class prompts, and adapters in both sides.

    Args:
        classnames: names of the C classes.
        clip_model: a CLIP.
        schedules: of both sides, without prompts.
        prefix: the words before a name.
        adapters: what is learned.

    Raises:
        UserError: if a prompt is longer than the text context, or words are adapted where padding is read too.
    """

    adapters: Adapters
    not_read = ("token_embedding", "tokenized_prompts")

    def __init__(
        self, classnames: Sequence[str], clip_model: CLIP, schedules: Schedules, prefix: str, adapters: Adapters
    ):
        super().__init__(schedules, prefix)
        self.take(adapters)
        self.register_buffer("ctx", torch.empty(0, text_width(clip_model), dtype=clip_model.dtype), persistent=False)
        self.put_in(classnames, clip_model)

    def forward(self) -> Prompts:
        """The prompts, and the current adapters."""
        text, vision = map(len, self.schedules)
        return self.adapted(Prompts(self._words(), [None] * text, [None] * vision))

    def _words(self) -> Any:
        words = self.prompt_text(self.ctx)
        if not self.adapters.adapts_words:
            return words
        if not isinstance(words, TextTokens):
            raise UserError("ADAPTER_START 0: only text sides with a causal mask can adapt words: use 1 or more")
        suffixes = [one._replace(tokens=self.adapters.words(one.tokens)) for one in words.suffixes]
        return words._replace(prefix=self.adapters.words(words.prefix), suffixes=suffixes)

    @staticmethod
    def checkpoint_key(name: str) -> str:
        return name[len("adapters.") :]
