"""Conditional Context Optimization (CoCoOp, arXiv 2203.05557): a context that depends on the image.

Shapes: B images, n context tokens, T text width, E joint width.
"""

from collections import OrderedDict
from dataclasses import dataclass

from torch import Tensor, nn

from modprompt.clip.towers import CLIP, joint_width, text_width
from modprompt.engine.prompts import Prompts
from modprompt.engine.schedule import Schedules, Shape
from modprompt.errors import SettingError
from modprompt.methods.coop import OneContext
from modprompt.methods.parts.learners import Classes, IndependentPromptLearner

REDUCTION = 16  # the network's hidden width is 1/16 of the joint width


@dataclass(frozen=True, repr=False)
class CoCoOp(OneContext):
    """CoCoOp: CoOp's context plus a small network's output for the image feature; also on ResNets."""

    node = "TRAINER.COCOOP"

    def schedules(self, shape: Shape) -> Schedules:
        found = super().schedules(shape)
        if not found.text[0].add:
            raise SettingError(
                [("SCHEDULE_TEXT", " must add tokens at layer 0, because the tokens of CoCoOp depend on the image.")]
            )
        return found

    def learner(self, clip_model: CLIP, classes: Classes, schedules: Schedules) -> "ConditionalPromptLearner":
        context = self.context(clip_model, classes)
        return ConditionalPromptLearner(classes.names, clip_model, schedules, context, described=self.described)


class ConditionalPromptLearner(IndependentPromptLearner):
    """The context of image b is ctx + meta_net(feature of b); drawn after the context: linear1, linear2.

    Args and Raises as IndependentPromptLearner; the class name stands at the end.
    """

    needs_image = True
    in_clip_type = ("ctx", "meta_net.")

    def _draw(self, clip_model: CLIP, first_text_layer: int) -> None:
        joint = joint_width(clip_model)
        linear1 = nn.Linear(joint, joint // REDUCTION)
        linear2 = nn.Linear(joint // REDUCTION, text_width(clip_model))
        super()._draw(clip_model, first_text_layer)
        self.meta_net = nn.Sequential(OrderedDict(linear1=linear1, relu=nn.ReLU(), linear2=linear2))
        self.meta_net.to(clip_model.dtype)

    def forward(self, image_features: Tensor) -> Prompts:  # type: ignore[override]  # `needs_image` says so
        """The prompts of B images, from their normalised features (B, E); each has its own prefix on the text side."""
        shift = self.meta_net(image_features)  # (B, T)
        return self._prompts(self.ctx + shift[:, None, None, :])  # (B, 1, n, T)
