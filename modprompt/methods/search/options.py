"""The learner of DPL's search stage (arXiv 2501.00457): options of 0 to C prompt tokens for every layer of both sides.

Shapes: T text width, V vision width.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from modprompt.clip.sides import image_width, text_width
from modprompt.clip.structure import CLIP
from modprompt.engine.prompts import Additions, Prompts
from modprompt.engine.schedule import Schedules
from modprompt.methods.search.learner import SearchLearner
from modprompt.methods.search.space import ALL
from modprompt.methods.search.supernet import Options


class OptionsPromptLearner(SearchLearner):
    """Each option of each layer has tokens of its own; words are fixed.

    Random draws: vision alphas, vision tokens by layer and option (normal, std 1), text alphas, text tokens by layer
    and option (uniform on [0, 1)), as in the reference.

    Args:
        classnames: names of the C classes.
        clip_model: a stock CLIP with a vision transformer, which gives the widths.
        schedules: of both sides, each layer with the tokens of its longest option.
        words: before a class name.

    Raises:
        UserError: as PromptText.
    """

    def __init__(self, classnames: Sequence[str], clip_model: CLIP, schedules: Schedules, words: str):
        super().__init__(schedules, words)
        widths = text_width(clip_model), image_width(clip_model)
        self.register_buffer("ctx", torch.empty(0, widths[0]), persistent=False)
        self.vision_options = self._side("vision", widths[1], nn.init.normal_)
        self.text_options = self._side("text", widths[0], nn.init.uniform_)
        self.put_in(classnames, clip_model)

    def _side(self, side: str, width: int, draw: Callable[[Tensor], Tensor]) -> nn.ModuleList:
        counts = getattr(self.schedules, side).counts
        if not counts:  # a ResNet's
            return nn.ModuleList()
        self.enter_alphas(side, [[(ALL, n) for n in range(count + 1)] for count in counts])
        self.register_buffer(f"{side}_rows", _rows(counts), persistent=False)
        self.register_buffer(f"{side}_unread", _unread(max(counts)), persistent=False)
        return nn.ModuleList(
            nn.ParameterList([nn.Parameter(draw(torch.empty(n + 1, width))) for n in range(count)]) for count in counts
        )

    def _additions(self, side: str, options: nn.ModuleList) -> Additions:
        each: list[Tensor] = list(options.parameters())
        if not each:
            return [None] * len(options)
        rows, unread = getattr(self, f"{side}_rows"), getattr(self, f"{side}_unread")
        counts = getattr(self.schedules, side).counts
        tokens = torch.cat(each).index_select(0, rows).split([n * n for n in counts])
        return [
            Options(own, unread[:n, :n], weights) if n else None
            for own, n, weights in zip(tokens, counts, self.weights(side))
        ]

    def forward(self) -> Prompts:
        """The current options, for both encoders."""
        text, vision = self._additions("text", self.text_options), self._additions("vision", self.vision_options)
        return Prompts(self.prompt_text(self.ctx), text, vision)

    def expected_tokens(self) -> Tensor:
        tables = [self.table(side) for side in self.options]
        expected = [one @ torch.arange(one.shape[1], device=one.device, dtype=one.dtype) for one in tables]  # (L,)
        return torch.cat(expected).sum()

    @staticmethod
    def checkpoint_key(name: str) -> str:
        """A parameter's name in the reference's checkpoints, which have no alphas."""
        return name.replace("vision_options.", "ctx_img_lst.").replace("text_options.", "ctx_txt_lst.")


def _rows(counts: Sequence[int]) -> Tensor:
    """Among all options' tokens, one after another, `count` rows for each; the last fills rows that are not read."""
    found, first = [], 0
    for count in counts:
        for n in range(1, count + 1):
            found += [first + min(place, n - 1) for place in range(count)]
            first += n
    return torch.tensor(found, dtype=torch.long)


def _unread(count: int) -> Tensor:
    """(count, count): 0 at the first o of row o, counted from 1, and minus infinity at the others."""
    return torch.full((count, count), float("-inf")).triu_(1)
