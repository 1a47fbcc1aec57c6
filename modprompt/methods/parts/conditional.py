"""CoCoOp's learner (arXiv 2203.05557, section 3.2): a context moved, for each image, by a small network.

Shapes: B images, n context tokens, T text width, E joint width.
"""

from collections import OrderedDict
from typing import Optional, Sequence

from torch import Tensor, nn

from modprompt.clips.structure import CLIP
from modprompt.engine.context import Context
from modprompt.engine.prompts import Prompts
from modprompt.engine.schedule import Schedules
from modprompt.methods.parts.described import Described
from modprompt.methods.parts.independent import IndependentPromptLearner

REDUCTION = 16  # the network's hidden width is 1/16 of the joint width


class ConditionalPromptLearner(IndependentPromptLearner):
    """The context of image b is ctx + meta_net(feature of b); drawn after the context: linear1, linear2.

    Args and Raises as IndependentPromptLearner; the class name stands at the end.
    """

    needs_image = True
    in_clip_type = ("ctx", "meta_net.")

    def __init__(
        self,
        classnames: Sequence[str],
        clip_model: CLIP,
        schedules: Schedules,
        context: Context,
        described: Optional[Described] = None,
    ):
        joint = clip_model.text_projection.shape[1]
        linear1 = nn.Linear(joint, joint // REDUCTION)
        linear2 = nn.Linear(joint // REDUCTION, clip_model.ln_final.weight.shape[0])
        super().__init__(classnames, clip_model, schedules, context, described=described)
        self.meta_net = nn.Sequential(OrderedDict(linear1=linear1, relu=nn.ReLU(), linear2=linear2))
        self.meta_net.to(clip_model.dtype)

    def forward(self, image_features: Tensor) -> Prompts:  # type: ignore[override]  # `needs_image` says so
        """The prompts of B images, from their normalised features (B, E); the text side has a prefix each."""
        shift = self.meta_net(image_features)  # (B, T)
        return self._prompts(self.ctx + shift[:, None, None, :])  # (B, 1, n, T)
