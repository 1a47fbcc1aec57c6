"""A method: a frozen dataclass of settings that makes a schedule, a learner and an objective, and is put on a CLIP."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar, cast

from torch import nn

from modprompt.clip.towers import CLIP
from modprompt.engine.schedule import Schedules, Shape
from modprompt.errors import UserError
from modprompt.fields import Configured
from modprompt.methods import assembly
from modprompt.methods.model import PromptedModel
from modprompt.methods.parts.capabilities import Logging, Repository, Results, RunFacts, SavedAs, Training
from modprompt.methods.parts.learners import Classes, Learner, classes_of
from modprompt.methods.parts.losses import CROSS_ENTROPY, Objective
from modprompt.methods.records import content_hashes, method_record
from modprompt.methods.search.space import AlphaSettings

M = TypeVar("M", bound="Method")
BESIDE = "what stands beside the prompts"


@dataclass(frozen=True, repr=False)
class Method(Configured):
    """Base of all methods. A subclass has its fields, `schedules`, `learner`, and `objective` if it has its own loss.

    The objects of parts/capabilities.py, in the attributes below, say what else a method can do.
    """

    saved_as: ClassVar[SavedAs] = SavedAs()
    prec: ClassVar[str] = "fp16"  # precision of a run unless it is set
    learner_of: ClassVar[str] = ""  # another method whose checkpoints it reads
    logging: ClassVar[Logging] = Logging()
    not_searched: ClassVar[str] = ""  # why there is no search for its schedule
    repository: ClassVar[Repository] = Repository()
    search: ClassVar[AlphaSettings | None] = None  # for its schedule; set on an instance (search/over.py)
    in_turn: ClassVar[bool] = False  # whether an image's logits depend on the images before it in the same test
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
    def training(self) -> Training:
        """What its training has that others have not; an override adds to this."""
        return Training() if self.joined_by is None else cast(Training, self.joined_by.training_beside)

    @property
    def results(self) -> Results:
        """What must be said of its results, or is done for them."""
        return Results() if self.joined_by is None else cast(Results, self.joined_by.results)

    @classmethod
    def chooses_by(cls, settings: Mapping[str, Any]) -> str:
        """Return how many validation images such a training selects on: FEW, ALL, AS_MANY, TEST or nothing ("")."""
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

    @classmethod
    def kept_values(cls, stated: Mapping[str, Any], folder: str) -> dict[str, Any]:
        """Return the values of the settings that a test takes from the checkpoint, by field.

        Args:
            stated: what the checkpoint says of the method's settings, by field.
            folder: the output folder of the training, which contains the checkpoint.
        """
        return {one.field: stated.get(one.field, one.default) for one in cls.settings() if one.kept}

    def require_each_alone(self, what: str) -> None:
        """Raise UserError, which begins with `what`, if an image's answer depends on the images before it."""
        if self.in_turn:
            raise UserError(
                f"{what} is not supported by {type(self).__name__}, because its prediction for an image depends on "
                "the previous images of the test. Run `modprompt predict` on all images, or call model.begin() in "
                "Python before the first image."
            )

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

    # ------------------------------ files that its settings name: read once, told apart by a hash, kept in checkpoints

    def prepared(self: M) -> M:
        """This method, with the files that its settings name read.

        Raises:
            SettingError: if one is missing, or holds something else.
        """
        return self

    def metadata(self) -> dict[str, Any]:
        """What a file says of the method besides its settings, plain values by name.

        Its texts tell content that settings name from other content: files fit each other only if these are the same.
        """
        if self.joined_by is None:
            return {}
        hashes = {BESIDE: self.joined_by.known_by(), **content_hashes(self.joined_by)}
        return {**hashes, "beside": method_record(self.joined_by)}

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

        Settings that were not passed have the values of the method's config file for that CLIP; the model's `method`
        has all values. The CLIP only gets `requires_grad_(False)`. It is shared: casts and moves reach it too.

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
