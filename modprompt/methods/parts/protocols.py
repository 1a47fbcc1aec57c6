"""What a model knows of its method, so that neither file needs the other."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Protocol

from torch import Tensor

from modprompt.clip.structure import CLIP
from modprompt.engine.model import Output
from modprompt.engine.schedule import Shape
from modprompt.fields import Setting
from modprompt.io.checkpoint import Checkpoint
from modprompt.methods.parts.capabilities import Averaging, Needs, OwnRate
from modprompt.methods.parts.classes import Classes
from modprompt.methods.parts.learner import Learner
from modprompt.methods.parts.objective import Objective
from modprompt.methods.search.settings import AlphaSettings


class FindsSchedule(Protocol):
    """The part of a Search (search.py) that methods use."""

    def settings_of_search(self) -> AlphaSettings:
        """How alphas are learned."""

    def slots_of(self, method: Any, clip_model: CLIP, classes: Classes, shape: Shape) -> Learner:
        """A method's learner in which it is open what each layer removes and adds."""


class ModelsMethod(Protocol):
    """The part of a Method (base.py) that models and records use."""

    node: ClassVar[str]
    learner_of: ClassVar[str]

    slots: ClassVar[FindsSchedule | None]
    joined_by: ClassVar[Any]

    @property
    def search(self) -> AlphaSettings | None:
        """How it searches for its schedule, if it does."""

    @classmethod
    def settings(cls) -> tuple[Setting, ...]:
        """All settings."""

    @classmethod
    def node_name(cls) -> str:
        """Its node under TRAINER."""

    def as_config(self) -> dict[str, Any]:
        """All settings by config key."""

    def content_hashes(self) -> dict[str, str]:
        """The content that its settings name, as {name: text}, with a text that differs for each content."""

    def metadata(self) -> dict[str, Any]:
        """What a file says of it in addition to its settings."""

    def mark(self) -> str:
        """The mark of its results."""

    def seen(self) -> str:
        """What its training sees of new classes."""

    def for_classes(self, learner: Any, clip_model: CLIP, classes: Classes) -> Learner:
        """The same prompts for other classes."""

    def make_objective(self, model: Any) -> Objective:
        """What it minimises, including what is added beside its prompts."""

    def rates(self) -> Sequence[OwnRate]:
        """Which parameters have a learning rate of their own."""

    @property
    def needs(self) -> Needs:
        """What the objective needs."""

    @property
    def averaging(self) -> Averaging | None:
        """How it averages over epochs, if it does."""

    def log(self, output: Output, labels: Tensor, loss: Tensor) -> Mapping[str, Tensor]:
        """What the log says of a step, by name."""

    def load_into(self, model: Any, content: Checkpoint, path: str, made_with: Mapping[str, str]) -> None:
        """Load a checkpoint into a model of this method."""

    def key(self, learner: Learner, name: str) -> str:
        """The name in the family's checkpoints of a parameter of the learner."""
