"""TCP's learner (arXiv 2311.18231, section 3.2): a context, and deeper tokens of single classes, made by a network.

Shapes: C classes, E joint width, n tokens of all layers behind layer 0, T text width.
"""

from collections import OrderedDict
from typing import Any, Callable, Dict, Mapping, Optional, Sequence

import torch
from torch import Tensor, nn

from modprompt.clips.build import draw_constructor
from modprompt.clips.plain import QuickGELU
from modprompt.clips.structure import CLIP
from modprompt.engine.composing import OfClasses
from modprompt.engine.context import Context
from modprompt.engine.prompts import Additions, Prompts
from modprompt.engine.schedule import Schedules
from modprompt.methods.parts.described import Described
from modprompt.methods.parts.independent import IndependentPromptLearner

REDUCTION = 4  # the network's hidden width is 1/4 of the joint width

Features = Callable[[Sequence[str], CLIP], Tensor]  # of class names: frozen class features (C, E), normalised


class ClassTokensLearner(IndependentPromptLearner):
    """What every text layer behind layer 0 adds are tokens of each class: one network makes them for all layers.

    Random draws after those of the context: what the constructor of a CLIP draws, since the reference builds its
    teacher here; then linear1, linear2.

    Args:
        classnames: names of the C classes.
        clip_model: a stock CLIP; its widths and dtype are taken over.
        schedules: of both sides; nothing on the vision side.
        context: as IndependentPromptLearner's.
        features: makes what the network reads; in no checkpoint, made anew for other classes.
        described: as IndependentPromptLearner's; all prompts of a class have its tokens.

    Raises:
        UserError: as put_in.
    """

    in_clip_type = ("ctx", "meta_net.")
    class_features: Tensor

    def __init__(
        self,
        classnames: Sequence[str],
        clip_model: CLIP,
        schedules: Schedules,
        context: Context,
        features: Features,
        described: Optional[Described] = None,
    ):
        self.features = features  # put_in asks for it
        super().__init__(classnames, clip_model, schedules, context, described=described)

    def _draw(self, clip_model: CLIP, first_text_layer: int) -> None:
        draw_constructor(clip_model)
        joint, width = clip_model.text_projection.shape[1], clip_model.ln_final.weight.shape[0]
        linear1 = nn.Linear(joint, joint // REDUCTION)
        linear2 = nn.Linear(joint // REDUCTION, sum(self._counts) * width)
        self.meta_net = nn.Sequential(OrderedDict(linear1=linear1, gelu=QuickGELU(), linear2=linear2))
        self.meta_net.to(clip_model.dtype)

    @property
    def _counts(self) -> Sequence[int]:
        """How many tokens of each class every layer behind layer 0 adds."""
        return [step.add for step in self.schedules.text[1:]]

    def put_in(self, classnames: Sequence[str], clip_model: CLIP) -> None:
        """As every learner, and the class features of these names."""
        super().put_in(classnames, clip_model)
        features = self.features(classnames, clip_model)
        if self.described is not None:
            features = features.repeat_interleave(torch.tensor(self.described.prompts(classnames)[1]), 0)
        self.register_buffer("class_features", features, persistent=False)

    def forward(self) -> Prompts:
        """The prompts of this moment."""
        made: Tensor = self.meta_net(self.class_features.to(self.ctx.dtype))  # (C, n * T)
        tokens = made.view(len(made), -1, self.ctx.shape[-1]).split(self._counts, dim=1)
        deep: Additions = [OfClasses(own) if own.shape[1] else None for own in tokens]
        return Prompts(*self.with_first(self.ctx, [None, *deep]), [None] * len(self.schedules.vision))

    @staticmethod
    def describe(state_dict: Mapping[str, Tensor]) -> Dict[str, object]:
        """The settings that show in a state dict."""
        facts = IndependentPromptLearner.describe(state_dict)
        width: Any = facts.get("the text width", 0)
        if width and "meta_net.linear2.weight" in state_dict:
            facts["the number of tokens of each class"] = len(state_dict["meta_net.linear2.weight"]) // width
        return facts
