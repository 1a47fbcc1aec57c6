"""What a model knows of its method, so that neither file needs the other."""

from typing import Any, ClassVar, Dict, Iterable, Mapping, Optional, Protocol, Sequence, Tuple

from torch import Tensor

from modprompt.clip.structure import CLIP
from modprompt.engine.model import Output
from modprompt.engine.schedule import Shape
from modprompt.errors import UserError
from modprompt.fields import Setting
from modprompt.io.checkpoint import Checkpoint
from modprompt.methods.parts.capabilities import Averaging, Needs, OwnRate
from modprompt.methods.parts.classes import Classes as Classes
from modprompt.methods.parts.learner import Learner
from modprompt.methods.parts.objective import Objective
from modprompt.methods.search.settings import AlphaSettings


class FindsSchedule(Protocol):
    """The part of a Search (search.py) that methods use."""

    def settings_of_search(self) -> AlphaSettings:
        """How alphas are learned."""

    def slots_of(self, method: Any, clip_model: CLIP, classes: Classes, shape: Shape) -> Learner:
        """A method's learner, undecided what each layer removes and adds."""


class ModelsMethod(Protocol):
    """The part of a Method (base.py) that models and records use."""

    node: ClassVar[str]
    learner_of: ClassVar[str]

    slots: ClassVar[Optional[FindsSchedule]]

    @property
    def search(self) -> Optional[AlphaSettings]:
        """How it searches for its schedule, if it does."""

    @classmethod
    def settings(cls) -> Tuple[Setting, ...]:
        """All settings."""

    @classmethod
    def node_name(cls) -> str:
        """Its node under TRAINER."""

    def as_config(self) -> Dict[str, Any]:
        """All settings by config key."""

    def content_hashes(self) -> Dict[str, str]:
        """What its settings name, as {name: text} that tells one content from another."""

    def metadata(self) -> Dict[str, Any]:
        """What a file says of it beside its settings."""

    def mark(self) -> str:
        """What a result is marked with."""

    def seen(self) -> str:
        """What its training sees of new classes."""

    def for_classes(self, learner: Any, clip_model: CLIP, classes: Classes) -> Learner:
        """The same prompts for other classes."""

    def make_objective(self, model: Any) -> Objective:
        """What it minimises, with what stands beside its prompts."""

    def rates(self) -> Sequence[OwnRate]:
        """What learns otherwise than the rest."""

    @property
    def needs(self) -> Needs:
        """What the objective needs."""

    @property
    def averaging(self) -> Optional[Averaging]:
        """How it averages over epochs, if it does."""

    def log(self, output: Output, labels: Tensor, loss: Tensor) -> Mapping[str, Tensor]:
        """What the log says of a step, by name."""

    def load_into(self, model: Any, content: Checkpoint, path: str, made_with: Mapping[str, str]) -> None:
        """Load a checkpoint into a model of this method."""

    def key(self, learner: Learner, name: str) -> str:
        """The name in the family's checkpoints of a parameter of the learner."""


def trained_classes(content: Checkpoint) -> Classes:
    """The classes that a checkpoint was trained on; none where it does not say them."""
    stated = content.record.get("classes", {})
    which = () if "trained_on" in stated else stated.get("which", ())
    return Classes(content.trained_on, stated.get("dataset", ""), tuple(which))


def classes_of(names: Iterable[str], dataset: str = "", which: Sequence[int] = ()) -> Classes:
    """Class names, checked; `which` is as of Classes.

    Raises:
        UserError: if there are none, or one is empty or no text.
    """
    if isinstance(names, str) or not isinstance(names, Iterable):
        what = f"the text {names!r}" if isinstance(names, str) else repr(names)
        raise UserError(f"names must be a list of class names, got {what}")
    classes = Classes(tuple(names), dataset, tuple(which))
    if not classes.names:
        raise UserError("names: no class names are given")
    wrong = [name for name in classes.names if not isinstance(name, str) or not name.strip()]
    if wrong:
        raise UserError(f"names: a class name must be a text that is not empty, got {wrong[0]!r}")
    return classes
