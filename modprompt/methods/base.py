"""A method: a frozen dataclass of settings that makes a schedule, a learner and an objective, and is put on a CLIP."""

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from torch import Tensor, nn

from modprompt.clip.structure import CLIP
from modprompt.engine.model import Output
from modprompt.engine.schedule import Schedules, Shape
from modprompt.errors import SettingError
from modprompt.fields import Configured
from modprompt.io.checkpoint import Checkpoint
from modprompt.methods import assembly
from modprompt.methods.model import PromptedModel
from modprompt.methods.parts.capabilities import (
    Averaging,
    Logging,
    Needs,
    OwnRate,
    Repository,
    RunFacts,
    Searching,
    Steps,
)
from modprompt.methods.parts.checkpoint_view import load_learner, require_own_classes
from modprompt.methods.parts.classes import Classes, classes_of, trained_classes
from modprompt.methods.parts.learner import HEAD, Learner
from modprompt.methods.parts.objective import CROSS_ENTROPY, Objective
from modprompt.methods.records import method_record, view_of
from modprompt.methods.search.settings import AlphaSettings

if TYPE_CHECKING:
    from modprompt.methods.search.over import Search

M = TypeVar("M", bound="Method")
BESIDE = "what stands beside the prompts"


@dataclass(frozen=True, repr=False)
class Method(Configured):
    """Base of all methods. A subclass has its fields, `schedules`, `learner`, and `objective` if it has its own loss.

    The objects of parts/capabilities.py, in the attributes below, say what else a method can do.
    """

    folder: ClassVar[str] = "prompt_learner"  # where its checkpoints are in a run's folder
    prefix: ClassVar[str] = "prompt_learner."  # of the learner's names in them
    prec: ClassVar[str] = "fp16"  # precision of a run unless it is set
    learner_of: ClassVar[str] = ""  # another method whose checkpoints it reads
    counts_steps: ClassVar[bool] = False  # whether its training is given by steps (`steps`), not epochs
    later_of_equals: ClassVar[bool] = False  # whether the later of two epochs wins that are equal on validation
    logging: ClassVar[Logging] = Logging()
    searching: ClassVar[Searching] = Searching()
    repository: ClassVar[Repository] = Repository()
    own_rates: ClassVar[Sequence[OwnRate]] = ()
    slots: ClassVar["Search | None"] = None  # set on an instance that searches for its schedule (search.py)
    only_alone: ClassVar[Sequence[str]] = ()  # keys that have no effect when it is added to another method
    instead: ClassVar[Mapping[str, str]] = {}  # settings of runs that it does not read, and what it has in their place
    joined_by: ClassVar[Any] = None  # set on an instance: another method that adds something beside its prompts

    # ------------------------------ what a method writes

    def schedules(self, shape: Shape) -> Schedules:
        """The schedules of both sides for a CLIP of this shape.

        Raises:
            SettingError: if a setting does not fit that CLIP.
        """
        raise NotImplementedError

    def learner(self, clip_model: CLIP, classes: Classes, schedules: Schedules) -> Learner:
        """The learner, newly drawn from PyTorch's generator.

        Raises:
            UserError: if a setting or a class name does not fit that CLIP.
        """
        raise NotImplementedError

    def objective(self, model: PromptedModel) -> Objective:
        """What the method minimises; made at the first loss, for the model's classes."""
        return CROSS_ENTROPY

    # ------------------------------ what else it can do, depending on its settings

    @property
    def wants_text(self) -> bool:
        """Whether it puts prompts into the text side, or changes it otherwise: a text tower allows neither."""
        return True

    @property
    def wants_vision(self) -> bool:
        """Whether it puts prompts into the vision side, which a ResNet and an image tower cannot have."""
        return self.joined_by is not None and bool(self.joined_by.wants_vision)

    @property
    def needs(self) -> Needs:
        """What the objective needs."""
        return Needs()

    @property
    def averaging(self) -> Averaging | None:
        """How it averages over epochs, if it does."""
        return None

    @property
    def steps(self) -> Steps | None:
        """How many steps its training has, if it counts them."""
        return None

    @property
    def draws_masks(self) -> bool:
        """Whether its steps draw random numbers other than for images: such steps are not compiled."""
        return self.joined_by is not None and bool(self.joined_by.draws_masks)

    def remarks(self) -> list[str]:
        """What a result must say of a training with these settings that makes its numbers not comparable."""
        return [] if self.joined_by is None else list(self.joined_by.remarks())

    @classmethod
    def chooses_by(cls, settings: Mapping[str, Any]) -> str:
        """Which validation images a training with these settings uses for choices: "" or a word of io/images.py."""
        return ""

    @classmethod
    def decides(cls, settings: Mapping[str, Any], facts: RunFacts) -> dict[str, Any]:
        """Settings of its node, by key, that follow from others and from facts of the run.

        They override files, and the command line overrides them.

        Args:
            settings: its node, by key.
            facts: what is known of the run.
        """
        return {}

    def mark(self) -> str:
        """The mark of its results if its settings keep them from being compared; empty for none."""
        return ""

    @property
    def halves_apart(self) -> bool:
        """Whether one run, trained on all classes, tests base images among base classes and new ones among new ones."""
        return False

    def seen(self) -> str:
        """What its training sees of new classes, with which a result is marked; empty for nothing."""
        return ""

    def optimiser_settings(self) -> dict[str, float]:
        """What its optimiser's groups have in addition to OPTIM, as keywords of PyTorch's optimisers."""
        return {}

    def log(self, output: Output, labels: Tensor, loss: Tensor) -> Mapping[str, Tensor]:
        """What the log says of a step, by name; without gradients, on the device.

        Args:
            output: of the batch.
            labels: (B,).
            loss: what the step minimised, a scalar.
        """
        return {"loss": loss}

    def rates(self) -> Sequence[OwnRate]:
        """What has a learning rate of its own, also of what was added beside its prompts."""
        beside = () if self.joined_by is None else self.joined_by.rates_beside()
        return (*self.own_rates, *beside)

    def sides(self, shape: Shape) -> Schedules:
        """Its schedules, with prompt tokens at the places that are set.

        Raises:
            SettingError: as schedules, and if such a setting has no effect.
        """
        return self.schedules(shape)

    def for_classes(self, learner: Any, clip_model: CLIP, classes: Classes) -> Learner:
        """The same prompts, shared, for other classes.

        Raises:
            UserError: if they belong to their classes (CSC), or a name does not fit.
        """
        other: Learner = learner.for_classes(classes.names, clip_model)
        if other.joint_head is not None:
            other.joint_head = other.joint_head.for_classes(classes)
        return other

    def key(self, learner: Learner, name: str) -> str:
        """The name in the family's checkpoints of a parameter of the learner."""
        if name.startswith(HEAD):
            return name[len(HEAD) :]
        key = learner.checkpoint_key(name)
        return key if key.startswith(("image_encoder.", "text_encoder.")) else self.prefix + key

    # ------------------------------ files that its settings name: read once, told apart by a hash, kept in checkpoints

    def prepared(self: M) -> M:
        """This method, with the files that its settings name read.

        Raises:
            SettingError: if one is missing, or holds something else.
        """
        return self

    def replace_private(self: M, **read: Any) -> M:
        """A copy of this method with what was read for it, as attributes that are not settings."""
        other = copy.copy(self)
        other.__dict__.update(read)  # it is frozen
        return other

    def make_learner(self, clip_model: CLIP, classes: Classes, schedules: Schedules) -> Learner:
        """Its learner, then what is added beside its prompts, both newly drawn.

        Raises:
            SettingError: if a setting does not fit that CLIP; the keys of what is added are named in full.
            UserError: as learner.
        """
        if self.joined_by is not None:
            self.joined_by.draw_before(lambda: self.learner(clip_model, classes, schedules))
        made = self.learner(clip_model, classes, schedules)
        if self.joined_by is not None:
            try:
                self.joined_by.join(made, clip_model, classes)
            except SettingError as error:
                raise error.under(self.joined_by.node) from None
        return made

    def make_objective(self, model: PromptedModel) -> Objective:
        """What the method minimises, including what is added beside its prompts."""
        made = self.objective(model)
        return made if self.joined_by is None else self.joined_by.objective_beside(made, model)

    # ------------------------------ what a method defines that is added to another's prompts (methods/together.py)

    def draw_before(self, draw: Callable[[], Learner]) -> None:
        """Draw what the reference draws before the learner; `draw` makes one."""

    def join(self, learner: Learner, clip_model: CLIP, classes: Classes) -> None:
        """Give another method's learner this method's additions beside its prompts, newly drawn.

        Raises:
            SettingError: if a setting does not fit that CLIP.
        """
        raise NotImplementedError

    def objective_beside(self, objective: Objective, model: PromptedModel) -> Objective:
        """What a model with these additions minimises, given the `objective` of its method."""
        return objective

    def rates_beside(self) -> Sequence[OwnRate]:
        """Which of these additions have a learning rate of their own."""
        return ()

    def known_by(self) -> str:
        """The text by which a checkpoint tells these additions from others."""
        return repr(self)

    def content_hashes(self) -> dict[str, str]:
        """The content that its settings name, as {name: text}, with a text that differs for each content."""
        if self.joined_by is None:
            return {}
        return {BESIDE: self.joined_by.known_by(), **self.joined_by.content_hashes()}

    def metadata(self) -> dict[str, Any]:
        """What a file says of the method besides its settings: hashes, and what was read, plain values by name."""
        beside = {} if self.joined_by is None else {"beside": method_record(self.joined_by)}
        return {**self.content_hashes(), **beside}

    def restore(self: M, stated: Mapping[str, Any], classes: Mapping[str, Any], path: str) -> M:
        """This method with what its settings named when a file was written, read from that file.

        Args:
            stated: what the file says of the method.
            classes: what it says of the classes.
            path: of the file, for messages.

        Raises:
            UserError: if the file lacks it.
        """
        return self

    # ------------------------------ what all methods have

    @classmethod
    def node_name(cls) -> str:
        """Its node under TRAINER; empty if it has no settings."""
        return cls.node.rpartition(".")[2]

    @property
    def search(self) -> AlphaSettings | None:
        """How it searches, if it does."""
        return None if self.slots is None else self.slots.settings_of_search()

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
        """This method's prompts, newly drawn, on a CLIP.

        The CLIP only gets `requires_grad_(False)`. It is shared: casts and moves reach it too.

        Args:
            clip_model: a stock CLIP, from modprompt.load_clip or clip.load.
            names: of the C classes, in label order.
            dataset: name of the data set, for methods whose template depends on it.
            epochs: number of epochs of the training, for methods that average over them.
            listed: whether the names are a published list: those that CLIP cannot tell apart are only warned of.
            which: for each class, its number among the data set's classes with the same name, where several have it.

        Returns:
            The model: an nn.Module from images (B, 3, H, W) to logits (B, C).

        Raises:
            UserError: if a setting, a class name or another argument does not fit; a SettingError names the setting.
        """
        return assembly.on(self, clip_model, classes_of(names, dataset, which), epochs, listed)

    def model(self, learner: Learner, clip_model: CLIP, classes: Classes, epochs: int) -> PromptedModel:
        """The model of a learner on a CLIP, for classes and a number of epochs (0: unknown)."""
        return PromptedModel(self, learner, clip_model, classes, epochs)

    def load_into(self, model: PromptedModel, content: Checkpoint, path: str, made_with: Mapping[str, str]) -> None:
        """Load a checkpoint into a model of this method that was made for the checkpoint's classes.

        Args:
            model: whose prompts are replaced.
            content: what the file says.
            path: of the file.
            made_with: what the file must have been made with, where it says so.

        Raises:
            UserError: if it does not fit, or its prompts belong to other classes (CSC).
        """
        load_learner(view_of(self, model.prompt_learner), path, made_with)
        if content.record:  # else the caller has named them
            model.prompt_learner.learned_on(trained_classes(content))
        if model.prompt_learner.bound:
            require_own_classes(content, model.classes.names, path)
