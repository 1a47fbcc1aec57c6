"""Any learner in search of what each layer removes and adds: its tokens become slots, each with a presence.

Shapes: A slots that a layer may add, R most tokens that it may remove by number, S slots of the layers so far.
"""

import copy
from typing import Any, Dict, List, Sequence, Tuple

import torch
from torch import Tensor

from modprompt.clips.structure import CLIP
from modprompt.engine.packing import TextTokens
from modprompt.engine.prompts import Additions, Prompts, PromptText
from modprompt.engine.relaxed import Slots, new_tokens, presences
from modprompt.engine.space import ALL, Option
from modprompt.learners.base import Learner
from modprompt.learners.searching import SearchLearner


class SlotsPromptLearner(SearchLearner):
    """Another learner with alphas beside it.

    The other's schedules add, and never remove, as many tokens in each layer of a searched side as an option may add;
    they are its slots. Random draws: the other's, then the alphas, vision before text.

    Args:
        inner: the learner.
        options: of each searched side, (remove, add) of each layer's options.
    """

    def __init__(self, inner: Learner, options: Dict[str, Sequence[Sequence[Option]]]):
        super().__init__(inner.schedules, inner.prefix)
        self.inner = inner
        self.needs_image = inner.needs_image
        for side in ("vision", "text"):
            if side in options:
                self.enter_alphas(side, options[side])

    @property
    def prompt_text(self) -> PromptText:  # type: ignore[override]
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

    def cast(self, dtype: torch.dtype) -> None:
        """As the other's; alphas are float32."""
        self.inner.cast(dtype)

    def forward(self, *inputs: Any) -> Prompts:
        """The other's prompts, with the presences of this moment."""
        prompts = self.inner(*inputs)
        return Prompts(
            prompts.text, self._slots("text", prompts.text_additions), self._slots("vision", prompts.vision_additions)
        )

    def _slots(self, side: str, additions: Additions) -> Additions:
        if side not in self.options:
            return additions
        return [Slots(new_tokens(new), there) for new, there in zip(additions, self.presences(side))]

    def presences(self, side: str) -> List[Tensor]:
        """Of each layer, the presences (S,) of all slots, in 0..1."""
        survival, arrival = zip(
            *(_marginals(options, weights) for options, weights in zip(self.options[side], self.weights(side)))
        )
        return presences(list(survival), list(arrival))

    def expected_tokens(self) -> Tensor:
        """How many prompt tokens all layers of the searched sides together are expected to have."""
        return torch.stack([there.sum() for side in self.options for there in self.presences(side)]).sum()

    def checkpoint_key(self, name: str) -> str:  # type: ignore[override]  # the other's decides
        """A parameter's name in checkpoints: as the other has it."""
        own = name[len("inner.") :] if name.startswith("inner.") else ""
        return self.inner.checkpoint_key(own) if own else name

    def with_first(self, first: Tensor, additions: Additions) -> Tuple[TextTokens, Additions]:
        """As the other's."""
        return self.inner.with_first(first, additions)


def _marginals(options: Sequence[Option], weights: Tensor) -> Tuple[Tensor, Tensor]:
    """Of a layer: the probabilities that fewer than k = 0, 1, ..., R + 1 are removed, and that each new slot comes."""
    most = max((remove for remove, _ in options if remove != ALL), default=0)
    fewer = torch.tensor([[0 <= remove < k for remove, _ in options] for k in range(most + 2)])
    slots = max(add for _, add in options)
    comes = torch.tensor([[add > slot for _, add in options] for slot in range(slots)]).reshape(slots, len(options))
    return fewer.to(weights) @ weights, comes.to(weights) @ weights
