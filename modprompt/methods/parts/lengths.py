"""The learner of DPL's train stage (arXiv 2501.00457): prompt tokens of any length in every layer of both sides.

Shapes: T text width, V vision width.
"""

from typing import Sequence

import torch
from torch import Tensor

from modprompt.clips.build import draw_constructor
from modprompt.clips.structure import CLIP
from modprompt.engine.prompts import Prompts
from modprompt.engine.schedule import Schedules
from modprompt.methods.parts.independent import IndependentPromptLearner
from modprompt.methods.parts.learner import Learner


class LengthsPromptLearner(IndependentPromptLearner):
    """Vectors of their own for every layer that adds tokens; words are fixed.

    Random draws: vision prompts by layer, text prompts by layer, both from layer 0 on, normal with std 0.02; then what
    the constructor of a CLIP draws, since the reference builds its teacher here.

    Args:
        classnames: names of the C classes.
        clip_model: a stock CLIP; its widths are taken over.
        schedules: of both sides. Text prompts behind the start token push the words on, as MaPLe has it.
        words: in front of a class name.
        averaged: templates whose embedded words are averaged; without them the words are those of `words`.

    Raises:
        UserError: as PromptText.
    """

    def __init__(
        self,
        classnames: Sequence[str],
        clip_model: CLIP,
        schedules: Schedules,
        words: str,
        averaged: Sequence[str] = (),
    ):
        places = "X " * schedules.text.among_words
        Learner.__init__(self, schedules, places + words)
        self.averaged = tuple(places + template for template in averaged)
        self.register_buffer("ctx", torch.empty(0, clip_model.ln_final.weight.shape[0]), persistent=False)
        self._draw(clip_model, 0)
        draw_constructor(clip_model)
        self.put_in(classnames, clip_model)

    def _n_among_words(self) -> int:
        return self.schedules.text.among_words

    def forward(self) -> Prompts:
        """The prompts of this moment, for both encoders."""
        first: Tensor = dict(self.text_prompts.items()).get("0", self.ctx)
        return self._prompts(first)

    @staticmethod
    def checkpoint_key(name: str) -> str:
        """A parameter's name in the reference's checkpoints."""
        side, _, rest = name.partition(".")
        return f"{_LISTS[side]}.{rest}" if side in _LISTS else name


_LISTS = {"vision_prompts": "ctx_img_lst", "text_prompts": "ctx_txt_lst"}
