"""CLIP-LoRA (arXiv 2405.18541): low-rank additions to the attention of both sides, and one template for all."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch

from modprompt.clip.build import layers_of
from modprompt.clip.towers import CLIP
from modprompt.engine.prompts import Prompts
from modprompt.engine.schedule import Schedules, Shape, no_prompts
from modprompt.fields import setting
from modprompt.methods.parts import templates
from modprompt.methods.parts.capabilities import Logging, Results, RunFacts, Searching, Steps, Training
from modprompt.methods.parts.classes import Classes
from modprompt.methods.parts.learner import Learner
from modprompt.methods.parts.literal_scale import own_scale
from modprompt.methods.parts.low_rank import (
    NODE,
    OF_ENCODER,
    LowRankAdditions,
    LowRankSettings,
)
from modprompt.methods.parts.low_rank_files import as_repository, of_repository
from modprompt.methods.parts.templates import TemplatePrompts
from modprompt.methods.together import Addition, require_takes

_LEAST_RATE = 1e-6  # learning rate of the last step
_LOADERS = 2  # the reference first draws seeds of two loaders, for validation and test images


@dataclass(frozen=True, repr=False)
class CLIPLoRA(LowRankSettings, Addition):
    """CLIP-LoRA: low-rank additions to attention, trained for a number of steps; with ENCODER text also on ResNets."""

    node = NODE
    prefix = ""
    prec = "amp"
    logging = Logging(accuracy=True)
    searching = Searching(refused="it has no prompts, and so no schedule")

    n_iters: int = setting(
        500, "steps for each training image of a class, whatever the number of classes", least=1, compared=False
    )
    literal_scale: float = setting(0.0, "what cosines are multiplied by; 0: exp(logit_scale) of the CLIP", least=0)
    joins: bool = setting(
        False, "whether CoOp and MPL get these additions beside their prompts", key="ON", compared=False
    )

    def check(self) -> None:
        super().check()
        if self.joins:
            require_takes(type(self).__name__, "CLIPLORA")

    @property
    def wants_text(self) -> bool:
        return "text" in OF_ENCODER[self.encoder]

    @property
    def wants_vision(self) -> bool:
        return "vision" in OF_ENCODER[self.encoder]

    @property
    def training(self) -> Training:
        return self.training_beside._replace(steps=Steps(self.n_iters, _LEAST_RATE))

    @property
    def training_beside(self) -> Training:
        return Training(draws_masks=self.dropout > 0)

    @classmethod
    def decides(cls, settings: Mapping[str, Any], facts: RunFacts) -> dict[str, Any]:
        """CLIP's own scale, where it differs from OpenAI's."""
        return own_scale(settings, facts)

    @property
    def results(self) -> Results:
        return Results(notes=self.differences())

    def schedules(self, shape: Shape) -> Schedules:
        """No prompts anywhere.

        Raises:
            SettingError: if POSITION names a layer that the model does not have.
        """
        self.layers(shape)
        return Schedules(no_prompts(shape.text_layers, "text"), no_prompts(shape.vision_layers))

    def learner(self, clip_model: CLIP, classes: Classes, schedules: Schedules) -> "LowRankTemplates":
        """Class names in one template, and the additions.

        Raises:
            UserError: on a CLIP with sides of another package.
        """
        for _ in range(_LOADERS):
            torch.empty((), dtype=torch.int64).random_()
        return LowRankTemplates(self, classes.names, clip_model, schedules)

    def join(self, learner: Learner, again: Callable[[], Learner], clip_model: CLIP, classes: Classes) -> Learner:
        """A method's learner with low-rank additions; UserError on a CLIP with sides of another package."""
        learner.take(LowRankAdditions(self, clip_model, self.layers(Shape(*layers_of(clip_model)))))
        return learner


class LowRankTemplates(TemplatePrompts):
    """Class names in the default template, and low-rank additions to the layers of both sides.

    Args:
        method: which additions, and how.
        classnames: names of the C classes.
        clip_model: a stock CLIP.
        schedules: of both sides, without prompts.

    Raises:
        UserError: as TemplatePrompts, or on a CLIP with sides of another package.
    """

    def __init__(self, method: CLIPLoRA, classnames: Sequence[str], clip_model: CLIP, schedules: Schedules):
        super().__init__(classnames, clip_model, schedules, [templates.DEFAULT])
        self.settings = method
        self.layers = method.layers(Shape(*layers_of(clip_model)))
        self.take(LowRankAdditions(method, clip_model, self.layers))
        self.literal_scale = method.literal_scale

    @property
    def beginning(self) -> str:
        """Where the additions are."""
        return cast(LowRankAdditions, self.adapters).described

    def forward(self) -> Prompts:
        """The prompts, and the current additions."""
        text, vision = self.schedules
        return self.adapted(Prompts(self.prompt_text(self.ctx), [None] * len(text), [None] * len(vision)))

    @staticmethod
    def checkpoint_key(name: str) -> str:
        """A parameter's name in checkpoints: side, layer, a or b."""
        return name.replace("adapters.", "", 1)

    def of_repository(self, content: Mapping[str, Any], path: str) -> Mapping[str, Any]:
        """A file of the reference, under our names."""
        found = of_repository(content, self.settings, self.layers, path)
        return content if found is None else found

    def as_repository(self) -> dict[str, Any]:
        """What a file of the reference would hold for these additions."""
        state = {self.checkpoint_key(name): one for name, one in self.named_parameters()}
        return as_repository(state, self.settings, self.layers)
