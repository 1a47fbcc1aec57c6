"""A learner with separate vectors for its two sides: the context of CoOp, the deep prompts of VPT and IVLP.

Shapes: n context tokens, T text width, V vision width.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from modprompt.clip.towers import CLIP, image_width, text_width
from modprompt.engine.context import Context
from modprompt.engine.prompts import Additions, Prompts
from modprompt.engine.schedule import Schedule, Schedules
from modprompt.methods.parts.learner import Learner
from modprompt.methods.parts.phrases import Described


def _drawn(schedule: Schedule, first_layer: int, width: int) -> nn.ParameterDict:
    """A parameter (add, width) for each layer from `first_layer` on that adds tokens, normal with std 0.02."""
    prompts = nn.ParameterDict()
    for layer, step in enumerate(schedule):
        if layer >= first_layer and step.add:
            prompts[str(layer)] = nn.Parameter(nn.init.normal_(torch.empty(step.add, width), std=0.02))
    return prompts


def _per_layer(prompts: nn.ParameterDict, layers: int) -> Additions:
    own = dict(prompts.items())
    return [own.get(str(layer)) for layer in range(layers)]


class IndependentPromptLearner(Learner):
    """A context on the text side, and separate vectors for every deeper layer and for the vision side.

    Random draws after those of the context: vision prompts by layer, then deep text prompts by layer.

    Args:
        classnames: names of the C classes.
        clip_model: a stock CLIP, which gives widths and dtype.
        schedules: of both sides; if layer 0 of the text side adds tokens, they are the context.
        context: what the context starts from; with no tokens, or if layer 0 adds none, the words are fixed.
        position: place of the class name; see PromptText.
        described: phrases of the classes, each of which makes a prompt; None for one prompt per class.

    Raises:
        UserError: as put_in.
    """

    def __init__(
        self,
        classnames: Sequence[str],
        clip_model: CLIP,
        schedules: Schedules,
        context: Context,
        position: str = "end",
        described: Described | None = None,
    ):
        text = schedules.text
        super().__init__(schedules, *context.around(text.among_words))
        self.position = position
        self.described = described
        if context.n_ctx and text[0].add:
            self.ctx = nn.Parameter(context.vectors)
        else:
            self.register_buffer("ctx", context.vectors[..., :0, :], persistent=False)
        self._draw(clip_model, 1)
        self.put_in(classnames, clip_model)

    def _draw(self, clip_model: CLIP, first_text_layer: int) -> None:
        """Draw the prompts of both sides; on the text side from a layer on."""
        text, vision = self.schedules
        self.vision_prompts = _drawn(vision, 0, image_width(clip_model))
        self.text_prompts = _drawn(text, first_text_layer, text_width(clip_model))
        self.trains_text = bool(text.depth)

    def forward(self) -> Prompts:
        """The current prompts, for both encoders."""
        return self._prompts(self.ctx)

    def _prompts(self, first: Tensor) -> Prompts:
        text, vision = self.schedules
        additions = self.with_first(first, _per_layer(self.text_prompts, len(text)))
        return self.adapted(Prompts(*additions, _per_layer(self.vision_prompts, len(vision))))

    @staticmethod
    def checkpoint_key(name: str) -> str:
        """A parameter's name in checkpoints of the family, where deep prompts are kept inside the encoders."""
        side, _, layer = name.partition(".")
        if side == "vision_prompts" and layer == "0":
            return "image_encoder.VPT"
        if side in ("vision_prompts", "text_prompts"):
            encoder = "image_encoder" if side == "vision_prompts" else "text_encoder"
            return f"{encoder}.transformer.resblocks.{layer}.VPT_shallow"
        return name
