"""Trainers as users wrote them for the version before: a node by hand, and a `build_learner`. They go with the next.

See docs/own_trainer.md for how a method is written now.
"""

from dataclasses import dataclass
from typing import Any

from modprompt.clips.structure import CLIP
from modprompt.engine.schedule import Schedules, Shape
from modprompt.errors import UserError
from modprompt.methods.parts.classes import Classes
from modprompt.methods.parts.groups import Regularised
from modprompt.methods.parts.learner import Learner


@dataclass(frozen=True, repr=False)
class OwnStyle(Regularised):
    """The method of a trainer that builds its learner itself."""

    trainer: Any = None

    @property
    def wants_vision(self) -> bool:
        """The trainer looks at the CLIP itself."""
        return False

    def schedules(self, shape: Shape) -> Any:
        """The learner has them."""
        return None

    def learner(self, clip_model: CLIP, classes: Classes, schedules: Schedules) -> Any:
        """What the trainer builds."""
        return self.trainer.build_learner(clip_model, list(classes.names))

    def key(self, learner: Learner, name: str) -> str:
        """As the trainer has it."""
        key: str = self.trainer.checkpoint_key(learner, name)
        return key


def of_trainer(trainer: Any) -> OwnStyle:
    """The method of such a trainer, with what its node has of the settings of self-regularisation if it reads them.

    Raises:
        UserError: if the trainer has what nothing calls any more.
    """
    gone = [name for name in ("before_cast", "model_class", "naming_the_node") if hasattr(trainer, name)]
    if gone:
        raise UserError(
            f"{type(trainer).__name__} has a {gone[0]}, which nothing reads any more: docs/own_trainer.md has how a "
            "method is written now"
        )
    given = {one.field: trainer.setting(one.key) for one in OwnStyle.settings()} if trainer.regularises else {}
    return OwnStyle(**{field: value for field, value in given.items() if value is not None}, trainer=trainer)
