"""Any learner that searches for what each layer removes and adds: its tokens become slots, each with a presence.

Shapes: A slots that a layer may add, R most tokens that it may remove by number, S slots of the layers so far.
"""

import copy
import itertools
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from modprompt.clip.structure import CLIP
from modprompt.engine.additions import new_tokens
from modprompt.engine.class_prompts import ClassPrompts
from modprompt.engine.precision import no_autocast
from modprompt.engine.prompts import Additions, ClassTokens, Prompts
from modprompt.methods.parts.learner import Learner
from modprompt.methods.search.learner import SearchLearner
from modprompt.methods.search.space import ALL, Option
from modprompt.methods.search.supernet import Slots, log_of, presences


class SlotsPromptLearner(SearchLearner):
    """Another learner, with alphas.

    The other's schedules add in each layer of a searched side as many tokens as any option may add, and never remove;
    these are the slots. Random draws: the other's, then the alphas, vision before text.

    Args:
        inner: the other learner.
        options: for each searched side, (remove, add) of each layer's options.
    """

    def __init__(self, inner: Learner, options: dict[str, Sequence[Sequence[Option]]]):
        super().__init__(inner.schedules, inner.prefix, inner.ending)
        self.inner = inner
        self.needs_image = inner.needs_image
        for side in ("vision", "text"):
            if side in options:
                self.enter_alphas(side, options[side])
                self.register_buffer(f"{side}_chances", _chances(options[side]), persistent=False)
                self.register_buffer(f"{side}_there", _there(options[side]), persistent=False)

    @property
    def prompt_text(self) -> ClassPrompts:  # type: ignore[override]
        """The other's."""
        return self.inner.prompt_text

    @property
    def ctx(self) -> Tensor:  # type: ignore[override]
        """The other's."""
        return self.inner.ctx

    def put_in(self, classnames: Sequence[str], clip_model: CLIP) -> None:
        """As the other's."""
        self.inner.put_in(classnames, clip_model)

    def for_classes(self, classnames: Sequence[str], clip_model: CLIP) -> "SlotsPromptLearner":
        """As the other's."""
        other = copy.copy(self)
        other.__dict__["_modules"] = {**self._modules, "inner": self.inner.for_classes(classnames, clip_model)}
        return other

    @property
    def logits(self) -> nn.Module:  # type: ignore[override]  # as the other's, if it has any
        """The other's."""
        return self.inner.logits

    def cast(self, dtype: torch.dtype) -> None:
        """As the other's; alphas are float32."""
        self.inner.cast(dtype)

    def forward(self, *inputs: Any) -> Prompts:
        """The other's prompts, with the current presences."""
        prompts = self.inner(*inputs)
        return Prompts(
            prompts.text, self._slots("text", prompts.text_additions), self._slots("vision", prompts.vision_additions)
        )

    def _slots(self, side: str, additions: Additions) -> Additions:
        if side not in self.options:
            return additions
        there: Tensor = getattr(self, f"{side}_there")
        counts = list(itertools.accumulate(map(_most_added, self.options[side])))
        bias = log_of(self.presences(side)).flatten().index_select(0, there).split(counts)
        return [Slots(new_tokens(new), one) for new, one in zip(additions, bias)]

    def presences(self, side: str) -> Tensor:
        """The presences (L, S) of all slots before each layer, from 0 to 1, float32 under autocast too."""
        chances: Tensor = getattr(self, f"{side}_chances")
        with no_autocast(chances.device):
            found = torch.bmm(chances, self.table(side)[..., None])[..., 0]
            removes = _most_removed(self.options[side]) + 1
            return presences(found[:, :removes], found[:, removes:])

    def expected_tokens(self) -> Tensor:
        return torch.stack([self.presences(side).sum() for side in self.options]).sum()

    def checkpoint_key(self, name: str) -> str:  # type: ignore[override]  # the other's decides
        own = name[len("inner.") :] if name.startswith("inner.") else ""
        return self.inner.checkpoint_key(own) if own else name

    def with_first(self, first: Tensor, additions: Additions) -> tuple[ClassTokens, Additions]:
        """As the other's."""
        return self.inner.with_first(first, additions)


def _most_removed(options: Sequence[Sequence[Option]]) -> int:
    return max((remove for there in options for remove, _ in there if remove != ALL), default=0)


def _most_added(options: Sequence[Option]) -> int:
    return max(add for _, add in options)


def _chances(options: Sequence[Sequence[Option]]) -> Tensor:
    """(L, R + 1 + S, O): 1 if an option removes 0, 1, ..., R tokens; 1 if it adds a slot before its layer."""
    slots = sum(map(_most_added, options))
    found = torch.zeros(len(options), _most_removed(options) + 1 + slots, max(map(len, options)))
    first = found.shape[1] - slots
    for layer, there in enumerate(options):
        for option, (remove, add) in enumerate(there):
            if remove != ALL:
                found[layer, remove, option] = 1
            found[layer, first : first + add, option] = 1
        first += _most_added(there)
    return found


def _there(options: Sequence[Sequence[Option]]) -> Tensor:
    """Places in (L, S), row by row, of the slots that have been added up to a layer."""
    counts = list(itertools.accumulate(map(_most_added, options)))
    return torch.cat([layer * counts[-1] + torch.arange(count) for layer, count in enumerate(counts)])
