"""A method: a frozen dataclass of settings that makes a schedule, a learner and an objective, and goes on a CLIP."""

import copy
from dataclasses import dataclass
from typing import Any, Callable, ClassVar, Dict, Iterable, List, Mapping, Optional, Sequence, TypeVar

from torch import Tensor, nn

from modprompt.clip.structure import CLIP
from modprompt.engine.model import Output
from modprompt.engine.schedule import Schedules, Shape
from modprompt.errors import SettingError, UserError
from modprompt.fields import Configured
from modprompt.io.checkpoint import Checkpoint
from modprompt.methods import assembly
from modprompt.methods.model import PromptedModel
from modprompt.methods.parts.capabilities import (
    FORMER,
    Averaging,
    Logging,
    Needs,
    OwnRate,
    Repository,
    RunFacts,
    Searching,
    Steps,
    former_hooks,
)
from modprompt.methods.parts.checkpoint_view import load_learner, require_own_classes
from modprompt.methods.parts.classes import Classes, classes_of, trained_classes
from modprompt.methods.parts.learner import HEAD, Learner
from modprompt.methods.parts.objective import CROSS_ENTROPY, Objective
from modprompt.methods.parts.protocols import FindsSchedule
from modprompt.methods.records import method_record, view_of
from modprompt.methods.search.settings import AlphaSettings

M = TypeVar("M", bound="Method")
BESIDE = "what stands beside the prompts"


@dataclass(frozen=True, repr=False)
class Method(Configured):
    """Base of all methods. A subclass is its fields, `schedules`, `learner`, and where it has its own loss `objective`.

    What else a method can do it says by the objects of parts/capabilities.py, which stand below.
    """

    folder: ClassVar[str] = "prompt_learner"  # of its checkpoints in a run's folder
    prefix: ClassVar[str] = "prompt_learner."  # of the learner's names in them
    prec: ClassVar[str] = "fp16"  # how a run computes where nothing says it
    learner_of: ClassVar[str] = ""  # the method whose checkpoints it reads, if that is another
    # whether its training step is the same at every epoch, so that it may be recorded (MODEL.COMPILE graph); a class
    # states it for itself, not for those that are derived from it
    same_step: ClassVar[bool] = False
    counts_steps: ClassVar[bool] = False  # whether its training has a number of steps (`steps`), and none of epochs
    later_of_equals: ClassVar[bool] = False  # whether of epochs that are equally good on validation the later is taken
    logging: ClassVar[Logging] = Logging()
    searching: ClassVar[Searching] = Searching()
    repository: ClassVar[Repository] = Repository()
    own_rates: ClassVar[Sequence[OwnRate]] = ()
    slots: ClassVar[Optional[FindsSchedule]] = None  # of an instance that searches for its schedule (search.py)
    only_alone: ClassVar[Sequence[str]] = ()  # keys that mean nothing where it stands beside others' prompts
    joined_by: ClassVar[Any] = None  # of an instance: another method, which stands beside its prompts

    # ------------------------------ what a method writes

    def schedules(self, shape: Shape) -> Schedules:
        """The schedules of both sides for a CLIP of so many layers.

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

    # ------------------------------ what else it can do, where its settings decide

    @property
    def wants_text(self) -> bool:
        """Whether it puts prompts into the text side, or makes others of them: then a text tower will not do."""
        return True

    @property
    def wants_vision(self) -> bool:
        """Whether it puts prompts into the vision side, which a ResNet and an image tower cannot take."""
        return self.joined_by is not None and bool(self.joined_by.wants_vision)

    @property
    def needs(self) -> Needs:
        """What the objective needs."""
        return Needs()

    @property
    def averaging(self) -> Optional[Averaging]:
        """How it averages over epochs, if it does."""
        return None

    @property
    def steps(self) -> Optional[Steps]:
        """How many steps its training has, if it counts them."""
        return None

    @property
    def draws_masks(self) -> bool:
        """Whether its steps draw random numbers beside those of the images: such steps are not recorded."""
        return self.joined_by is not None and bool(self.joined_by.draws_masks)

    def remarks(self) -> List[str]:
        """What a result must say of a training with these settings, in which its numbers are not comparable."""
        return [] if self.joined_by is None else list(self.joined_by.remarks())

    @classmethod
    def chooses_by(cls, settings: Mapping[str, Any]) -> str:
        """Which validation images a training with these settings chooses by: "" or a word of io/images.py."""
        return ""

    @classmethod
    def decides(cls, settings: Mapping[str, Any], facts: RunFacts) -> Dict[str, Any]:
        """Settings of its node that follow from others and from what the run is of, by key.

        They go over what files give and under the command line.

        Args:
            settings: its node, by key.
            facts: of the run.
        """
        return {}

    def mark(self) -> str:
        """What a result is marked with that its settings keep from being compared; empty for none."""
        return ""

    @property
    def halves_apart(self) -> bool:
        """Whether a training on all classes tests images of base and of new ones each among their own, by one run."""
        return self.joined_by is not None and bool(self.joined_by.halves_apart)

    def seen(self) -> str:
        """What its training sees of new classes, which a result is marked with; empty for nothing."""
        return "" if self.joined_by is None else str(self.joined_by.seen())

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

    def rates(self) -> Sequence[OwnRate]:
        """What learns otherwise than the rest, of what stands beside its prompts too."""
        beside = () if self.joined_by is None else self.joined_by.rates_beside()
        return (*self.own_rates, *beside)

    def sides(self, shape: Shape) -> Schedules:
        """Its schedules, with prompt tokens where its settings place them.

        Raises:
            SettingError: as schedules, and if what is set means nothing.
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

    # ------------------------------ what its settings name: read once, told apart by a hash, found again in a file

    def prepared(self: M) -> M:
        """This method, with what its settings name read.

        Raises:
            SettingError: if that is not there, or holds something else.
        """
        return self

    def replace_private(self: M, **read: Any) -> M:
        """A copy of this method that has what was read for it, attributes that are no settings."""
        other = copy.copy(self)
        other.__dict__.update(read)  # it is frozen
        return other

    def make_learner(self, clip_model: CLIP, classes: Classes, schedules: Schedules) -> Learner:
        """Its learner, with what stands beside its prompts, drawn behind what it has drawn.

        Raises:
            SettingError: if a setting does not fit that CLIP, of what stands beside by its whole key.
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
        """What the method minimises, as what stands beside its prompts has it."""
        made = self.objective(model)
        return made if self.joined_by is None else self.joined_by.objective_beside(made, model)

    # ------------------------------ what a method says that stands beside others' prompts (methods/together.py)

    def draw_before(self, draw: Callable[[], Learner]) -> None:
        """Draw what the reference draws in front of the learner; `draw` makes one."""

    def join(self, learner: Learner, clip_model: CLIP, classes: Classes) -> None:
        """Give the learner of another method what stands beside its prompts, newly drawn.

        Raises:
            SettingError: if a setting does not fit that CLIP.
        """
        raise NotImplementedError

    def objective_beside(self, objective: Objective, model: PromptedModel) -> Objective:
        """What a model with it beside its prompts minimises, of what its method does."""
        return objective

    def rates_beside(self) -> Sequence[OwnRate]:
        """What of it learns otherwise than the prompts."""
        return ()

    def known_by(self) -> str:
        """What tells it from others beside a method's prompts, in a checkpoint."""
        return repr(self)

    def content_hashes(self) -> Dict[str, str]:
        """What its settings name, as {name: text} that tells one content from another."""
        if self.joined_by is None:
            return {}
        return {BESIDE: self.joined_by.known_by(), **self.joined_by.content_hashes()}

    def metadata(self) -> Dict[str, Any]:
        """What a file says of the method beside its settings, plain values by name: hashes, and what was read."""
        beside = {} if self.joined_by is None else {"beside": method_record(self.joined_by)}
        return {**self.content_hashes(), **beside}

    def restore(self: M, stated: Mapping[str, Any], classes: Mapping[str, Any], path: str) -> M:
        """This method with what its settings named when a file was written, which stands there.

        Args:
            stated: what the file says of the method.
            classes: what it says of the classes.
            path: of the file, for messages.

        Raises:
            UserError: if it is not there.
        """
        return self

    # ------------------------------ what all have

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        for old in former_hooks(cls):
            raise UserError(f"{cls.__name__}: {old} of a method is {FORMER[old]} now (modprompt/methods/base.py)")

    @classmethod
    def node_name(cls) -> str:
        """Its node under TRAINER; empty if it has no settings."""
        return cls.node.rpartition(".")[2]

    @property
    def search(self) -> Optional[AlphaSettings]:
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
        return assembly.on(self, clip_model, classes_of(names, dataset, which), epochs, listed)

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
        if content.record:  # else whoever loads it has named them
            model.prompt_learner.learned_on(trained_classes(content))
        if model.prompt_learner.bound:
            require_own_classes(content, model.classes.names, path)
