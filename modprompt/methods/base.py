"""A method: a frozen dataclass of settings that makes a schedule, a learner and an objective, and goes on a CLIP."""

import copy
import logging
from dataclasses import dataclass
from typing import Any, ClassVar, Dict, Iterable, Mapping, NamedTuple, Optional, Sequence, Type, TypeVar, Union

from torch import Tensor, nn

from modprompt.clip.build import layers_of, require_vision_transformer
from modprompt.clip.cast import rounded_to
from modprompt.clip.facts import called
from modprompt.clip.structure import CLIP
from modprompt.clip.tokens import require_known_words, require_told_apart
from modprompt.engine.model import Output
from modprompt.engine.schedule import Schedule, Schedules, Shape, from_config
from modprompt.errors import SettingError, UserError
from modprompt.fields import Configured, Steps
from modprompt.io.checkpoint import Checkpoint
from modprompt.methods.model import PromptedModel
from modprompt.methods.parts.average import GaussianAverage
from modprompt.methods.parts.learner import Learner
from modprompt.methods.parts.objective import CROSS_ENTROPY, Objective
from modprompt.methods.parts.protocols import Classes, FindsSchedule, classes_of
from modprompt.methods.parts.view import load_learner, require_own_classes
from modprompt.methods.records import view_of
from modprompt.methods.search.settings import AlphaSettings
from modprompt.methods.shared_clip import require_clip, warn_of_rounding

LOG = logging.getLogger("modprompt")
M = TypeVar("M", bound="Method")


class SecondNode(Configured):
    """Settings of a method in another node than its own, as its repository has them: they stand for others."""

    def means(self, given: Mapping[str, str]) -> Dict[str, Any]:
        """The settings that these stand for, by dotted key.

        Args:
            given: settings that are given under their own names, as text: these stay as they are.
        """
        raise NotImplementedError


class Only(NamedTuple):
    """The one value that a setting of a method's repository may have here."""

    value: str


@dataclass(frozen=True, repr=False)
class Method(Configured):
    """Base of all methods. A subclass is its fields, `schedules`, `learner`, and where it needs them the others."""

    folder: ClassVar[str] = "prompt_learner"  # of its checkpoints in a run's folder
    prefix: ClassVar[str] = "prompt_learner."  # of the learner's names in them
    learner_of: ClassVar[str] = ""  # the method whose checkpoints it reads, if that is another
    log_accuracy: ClassVar[bool] = False  # whether its trainer's log has the accuracy of each batch
    draws_examples: ClassVar[bool] = False  # whether its trainer's log has prompts of ten classes, drawn at random
    always_searches: ClassVar[bool] = False  # whether it is a search by itself
    # whether its training step is the same at every epoch, so that it may be recorded (MODEL.COMPILE graph); a class
    # states it for itself, not for those that are derived from it
    same_step: ClassVar[bool] = False
    not_searched: ClassVar[str] = ""  # why a search for its schedule means nothing
    second_node: ClassVar[Optional[Type[SecondNode]]] = None  # settings of its in another node
    # settings of nodes that its repository shares among methods, each as one of its own; "": nothing reads it there
    shared: ClassVar[Mapping[str, Union[str, Only]]] = {}
    slots: ClassVar[Optional[FindsSchedule]] = None  # of an instance that searches for its schedule (search.py)

    @classmethod
    def node_name(cls) -> str:
        """Its node under TRAINER; empty if it has no settings."""
        return cls.node.rpartition(".")[2]

    @property
    def wants_vision(self) -> bool:
        """Whether it puts prompts into the vision side, which a ResNet cannot take."""
        return False

    def schedules(self, shape: Shape) -> Schedules:
        """The schedules of both sides for a CLIP of so many layers.

        Raises:
            SettingError: if a setting does not fit that CLIP.
        """
        raise NotImplementedError

    @classmethod
    def chooses_by(cls, settings: Mapping[str, Any]) -> str:
        """Which validation images a training with these settings chooses by: "" or a word of io/images.py."""
        return ""

    @property
    def search(self) -> Optional[AlphaSettings]:
        """How it searches, if it does."""
        return None if self.slots is None else self.slots.settings_of_search()

    def prepared(self: M) -> M:
        """This method, with what its settings name read.

        Raises:
            SettingError: if that is not there, or holds something else.
        """
        return self

    def having(self: M, **read: Any) -> M:
        """A copy of this method that has what was read for it, attributes that are no settings."""
        other = copy.copy(self)
        other.__dict__.update(read)  # it is frozen
        return other

    def made_of(self) -> Dict[str, str]:
        """What its settings name, as {name: text} that tells one content from another."""
        return {}

    def stated(self) -> Dict[str, Any]:
        """What a file says of the method beside its settings, plain values by name: made_of, and what was read."""
        return {**self.made_of()}

    def with_record(self: M, stated: Mapping[str, Any], classes: Mapping[str, Any], path: str) -> M:
        """This method with what its settings named when a file was written, which stands there.

        Args:
            stated: what the file says of the method.
            classes: what it says of the classes.
            path: of the file, for messages.

        Raises:
            UserError: if it is not there.
        """
        return self

    def sides(self, shape: Shape) -> Schedules:
        """Its schedules, with prompt tokens where its settings place them.

        Raises:
            SettingError: as schedules, and if what is set means nothing.
        """
        return self.schedules(shape)

    def learner(self, clip_model: CLIP, classes: Classes, schedules: Schedules) -> Learner:
        """The learner, newly drawn from PyTorch's generator.

        Raises:
            UserError: if a setting or a class name does not fit that CLIP.
        """
        raise NotImplementedError

    def for_classes(self, learner: Any, clip_model: CLIP, classes: Classes) -> Learner:
        """The same prompts, shared, for other classes.

        Raises:
            UserError: if they belong to their classes (CSC), or a name does not fit.
        """
        other: Learner = learner.for_classes(classes.names, clip_model)
        return other

    def objective(self, model: PromptedModel) -> Objective:
        """What the method minimises; made at the first loss, for the model's classes."""
        return CROSS_ENTROPY

    def keeps_exact(self) -> bool:
        """Whether the objective asks for features by CLIP's weights as they were before a cast."""
        return False

    def goes_back_twice(self) -> bool:
        """Whether a step asks for several losses' gradients of one graph."""
        return False

    def averages(self) -> bool:
        """Whether it ends in an average over epochs, so that their number must be known."""
        return False

    def average(self, epochs: int) -> Optional[GaussianAverage]:
        """A new average over so many epochs; None if it has none."""
        return None

    def optimiser_settings(self) -> Dict[str, float]:
        """What the groups of its optimiser have beside what OPTIM says, as keywords of PyTorch's optimisers."""
        return {}

    def log(self, output: Output, labels: Tensor, loss: Tensor) -> Mapping[str, Tensor]:
        """What the log says of a step, by name; all without gradients, on the device.

        Args:
            output: of the batch.
            labels: (B,).
            loss: what the step went down, a scalar.
        """
        return {"loss": loss}

    def key(self, learner: Learner, name: str) -> str:
        """The name in the family's checkpoints of a parameter of the learner."""
        key = learner.checkpoint_key(name)
        return key if key.startswith(("image_encoder.", "text_encoder.")) else self.prefix + key

    def written(self, side: str, steps: Steps, layers: int, n_ctx: int, name: str) -> Optional[Schedule]:
        """The schedule that SCHEDULE_TEXT or SCHEDULE_VISION writes out, or None.

        Args:
            side: "text" or "vision".
            steps: as written.
            layers: of that side.
            n_ctx: what layer 0 must add.
            name: the setting that gives n_ctx.

        Raises:
            SettingError: as from_config; there, no name lets layer 0 add any number.
        """
        try:
            return from_config(steps, layers, side, n_ctx, name) if steps else None
        except UserError as error:
            raise SettingError([(f"SCHEDULE_{side.upper()}", f": {error}")]) from None

    def on(
        self,
        clip_model: nn.Module,
        names: Iterable[str],
        *,
        dataset: str = "",
        epochs: int = 0,
        listed: bool = False,
        which: Sequence[int] = (),
    ) -> PromptedModel:
        """This method's prompts, newly drawn, in front of a CLIP.

        Nothing is done to the CLIP but `requires_grad_(False)`. It is shared: casts and moves reach it too.

        Args:
            clip_model: a stock CLIP, of modprompt.load_clip or clip.load.
            names: of the C classes, in label order.
            dataset: name of the data set, for methods whose template depends on it.
            epochs: number of epochs of the training, for methods that average over them.
            listed: whether they are a published list, where names that are one to CLIP are warned of, not refused.
            which: of the data set's classes of its name each is, where several have one.

        Returns:
            The model: an nn.Module from images (B, 3, H, W) to logits (B, C).

        Raises:
            UserError: if a setting, a class name or another argument does not fit; a SettingError names the setting.
        """
        classes = classes_of(names, dataset, which)
        if not isinstance(epochs, int) or isinstance(epochs, bool) or epochs < 0:
            raise UserError(f"epochs must be a whole number from 0 up, got {epochs!r}")
        clip = require_clip(clip_model)
        if rounded_to(clip):
            warn_of_rounding(clip)
        require_told_apart(classes.names, listed)
        require_known_words(classes.names, clip)
        method = self.prepared()
        if method.wants_vision:
            require_vision_transformer(clip, called(clip), type(self).__name__)
        shape = Shape(*layers_of(clip))
        was_trained = any(parameter.requires_grad for parameter in clip.parameters())
        if self.slots is None:
            learner = method.learner(clip, classes, method.sides(shape))
        else:
            learner = self.slots.slots_of(method, clip, classes, shape)
        if was_trained:
            LOG.info("CLIP is frozen: requires_grad_(False) on all of its parameters")
        return method.model(learner, clip, classes, epochs)

    def model(self, learner: Learner, clip_model: CLIP, classes: Classes, epochs: int) -> PromptedModel:
        """The model of a learner in front of a CLIP, for classes and so many epochs (0: not known)."""
        return PromptedModel(self, learner, clip_model, classes, epochs)

    def load_into(self, model: PromptedModel, content: Checkpoint, path: str, made_with: Mapping[str, str]) -> None:
        """Load a checkpoint into a model of this method that was made for the classes that it names.

        Args:
            model: whose prompts are replaced.
            content: what the file says.
            path: of the file.
            made_with: what a file that says what it was made with must have been made with.

        Raises:
            UserError: if it does not fit, or its prompts belong to other classes (CSC).
        """
        load_learner(view_of(self, model.prompt_learner), path, made_with)
        if model.prompt_learner.bound:
            require_own_classes(content, model.classes.names, path)
