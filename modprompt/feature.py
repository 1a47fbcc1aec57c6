"""To all other packages a feature is a record. They walk over the records, and name no feature.

A feature is one folder, whose feature.py has FEATURE, a Feature that says what the feature changes; all else is as
without it. A new feature is such a folder and its row in FEATURES.

Records are read before PyTorch is imported, and by results and settings, which do not need it: feature.py imports what
a method needs inside that method. A configuration (cfg) is a run's Dassl node.
"""

import functools
import importlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

from modprompt.fields import Configured

FEATURES: list[str] = [
    "modprompt.methods.search.feature",
    "modprompt.methods.heads.feature",
    "modprompt.active.feature",
    "modprompt.hosts.feature",
    "modprompt.methods.teachers.feature",
]


class Waiting(NamedTuple):
    """What a run waits for somebody to do.

    text: one line.
    still: whether it is still to be done.
    """

    text: str
    still: bool


class NamedFile(NamedTuple):
    """A file that a setting may name in place of its value.

    path: of the file; empty if it names none.
    mark: the mark before it in the setting's text.
    """

    path: str
    mark: str


class FirstStage(NamedTuple):
    """What is trained before a method of an experiment; all fields are empty for a feature without such a stage.

    key: its key in a method of an experiment file.
    names_method: whether the key names another method of the file; else it gives a trainer, config and options, with
        a seed of its own if KEY_seed gives it.
    setting: the setting of a method's node that names what another method has trained.
    name: its name in messages.
    plural: the name of several methods' stages.
    without: what a protocol without first stages says that it has none of.
    group: a report's name for methods on top of what another one has trained.
    parameters: whose trained parameters are counted, too.
    seconds: of which seconds a training has its share.
    """

    key: str = ""
    names_method: bool = False
    setting: str = ""
    name: str = ""
    plural: str = ""
    without: str = ""
    group: str = ""
    parameters: str = ""
    seconds: str = ""


class Feature:
    """A feature.

    Attributes:
        name: its name in results and records.
        node: its config node; empty if it has none.
        labelling: how images without a label get one, in a sentence.
        decided: keys of its node that are never given but set by `decides`; they decide no number by themselves.
        leaves: names in an output folder that show its training.
        alone: why a run of another kind has no training with it.
        otherwise: the message for a trainer without it, after the trainer's name.
        stage: its first stage in experiments.
        tested: percentages in its part of a result, with their names in a report.
        is_protocol: whether it adds a protocol of experiments, under its name; see plan and report.
        narrows: by flag, a command's text for the names to which the flag restricts an experiment.
        figures: the names of the figures that its report may draw.
        in_records: whether a method's record may have its settings, under its name.
        stands_on: the key in a method's record for the method on whose results it builds.
        chosen: names of its parts of a result that say what a run chose; its checkpoints have them, too.
        learned: a card's words for what its kind of methods learns, before "a frozen CLIP".
        of_others: a card's sentence on other classes than those of the training.
        kind: the kind of methods (methods/table.py) whose trainers it makes from its own parts; empty for none.
    """

    name: ClassVar[str] = ""
    node: ClassVar[str] = ""
    labelling: ClassVar[str] = ""
    decided: ClassVar[Mapping[str, Any]] = {}
    leaves: ClassVar[tuple[str, ...]] = ()
    alone: ClassVar[str] = ""
    otherwise: ClassVar[str] = ""
    stage: ClassVar[FirstStage] = FirstStage()
    tested: ClassVar[Mapping[str, str]] = {}
    is_protocol: ClassVar[bool] = False
    narrows: ClassVar[Mapping[str, str]] = {}
    figures: ClassVar[tuple[str, ...]] = ()
    in_records: ClassVar[bool] = False
    stands_on: ClassVar[str] = ""
    chosen: ClassVar[tuple[str, ...]] = ()
    learned: ClassVar[str] = "Prompts in front of"
    of_others: ClassVar[str] = ""
    kind: ClassVar[str] = ""

    # ------------------------------------------------------------------ settings

    def settings(self) -> type[Configured] | None:
        """The settings of its node; None without one."""
        return None

    def help(self, method: Any) -> str:
        """Its text for --help, besides the settings of a method; empty if it does not concern the method."""
        return ""

    def flags(self, add: Callable[..., Any]) -> None:
        """Add its flags to the program's; `add` is argparse's add_argument."""

    def source(self, args: Any) -> Any | None:
        """Where modules, data sets' configs and readers come from (Source in modprompt/cli/train.py).

        Args:
            args: the program's flags; called before anything slow is imported.

        Returns:
            None if they are ours.
        """
        return None

    def check_given(self, given: Any) -> None:
        """Refuse settings that may not be given."""

    def read(self, given: Any, planned: bool = False) -> Any:
        """Settings (io/settings.py), with the values from files that are named in place of values.

        Args:
            given: what files, flags and options give.
            planned: the run is not started now: a missing file stays a name, and there are no warnings.
        """
        return given

    def file_in(self, key: str, value: Any) -> NamedFile | None:
        """The file that a setting names in place of its value; None if the setting does not concern `read`."""
        return None

    def takes_all(self, given: Callable[[str], str], trainer: str) -> bool:
        """Whether a run uses all training images unless a number is given, with an output folder of its own.

        Args:
            given: gives a dotted key's given value as text; empty if none is.
            trainer: its name.
        """
        return False

    def decides(self, cfg: Any, given: Any, method: Any, node: str) -> Mapping[str, Any]:
        """The values of `decided` in a configuration; refuses one that does not fit.

        Args:
            cfg: merged.
            given: what files, flags and options give.
            method: the class of the trainer's method; None for a trainer that is not ours.
            node: the method's node under TRAINER; empty for a method that learns nothing.
        """
        return {}

    def check(self, cfg: Any) -> None:
        """Refuse, before any work, a configuration that does not fit."""

    def takes_part(self, cfg: Any) -> bool:
        """Whether it takes part in the training of a configuration, which then needs validation images."""
        return False

    def labels_later(self, cfg: Any) -> bool:
        """Whether images without a label get one during the run."""
        return False

    def single(self) -> Mapping[str, Any]:
        """Keys of its node, with their values in a single training or test of a run of another kind, which has many."""
        return {}

    # ------------------------------------------------------------------ a run

    def run(self, cfg: Any, settings: Any) -> bool:
        """Run a configuration that is a run of another kind, and write its result.

        Returns:
            Whether it was one; else it is a usual training.
        """
        return False

    def check_single(self, cfg: Any) -> None:
        """Refuse a trainer that another program built, if it should not train alone."""

    def require_free(self, folder: str) -> None:
        """Refuse an output folder that a single training or test would spoil."""

    def parts(self) -> Any:
        """The parts of the trainers of its kind of methods (trainers/prompt_trainer.py)."""
        raise NotImplementedError

    def method(self, method: Any, cfg: Any) -> Any:
        """A run's method as this feature changes it."""
        return method

    def preload(self) -> None:
        """Import what its runs need, before any of them begins."""

    def part(self, trainer: Any) -> Any | None:
        """Its addition to a trainer's parts (FeaturePart in trainers/part.py); None if it has none."""
        return None

    def imported(self, frame: Any) -> None:
        """Called when a module of ours that an import line may name is imported.

        Args:
            frame: the module's.
        """

    # ------------------------------------------------------------------ experiments

    def plan(self) -> Any:
        """The module that plans the runs of its protocol (Added in modprompt/experiments/plan/experiment.py)."""
        raise NotImplementedError

    def report(self) -> Any:
        """The module that reports its protocol's results."""
        raise NotImplementedError

    def chose_images(self, result: Mapping[str, Any]) -> bool:
        """Whether a result's run chose the images of its training, so that its split records them."""
        return False

    def fault_of_stage(self, trainer: str, keys: Sequence[str], settings: Mapping[str, str]) -> str:
        """Why its first stage cannot come before a trainer; empty if it can.

        Args:
            trainer: its name.
            keys: of its method's options in the file.
            settings: of these options and its config, as text by dotted key.
        """
        return ""

    def finds(self, key: str) -> bool:
        """Whether its first stage finds a setting's value."""
        return False

    def handed_on(self, folder: Any, trainer: str, settings: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
        """The settings, (key, text) pairs, with which a trainer uses what its first stage left in a folder."""
        return ()

    # ------------------------------------------------------------------ what runs leave

    def card(self, method: Mapping[str, Any]) -> list[tuple[str, str]]:
        """Rows of a card, (name, text), from a checkpoint's record of its method."""
        return []

    def labels(self, result: Mapping[str, Any]) -> str:
        """How many labels a result's run has asked for, in words; empty if it does not ask."""
        return ""

    def lacks(self, folder: Any) -> str:
        """What is missing in the output folder of a training with this feature; empty if nothing is."""
        return ""

    def changed(self, folder: Any, result: Mapping[str, Any]) -> list[str]:
        """What has changed in the output folder of a finished run, so that it must run again."""
        return []

    def waits(self, folder: Any) -> Waiting | None:
        """What the run in an output folder waits for, or waited for when it ended; None if it does not wait."""
        return None

    def progress(self, folder: Any) -> str:
        """How far the run in an output folder is, besides its epochs, in words; empty if its epochs say it."""
        return ""

    def goes_on(self, result: Mapping[str, Any], settings: Mapping[str, str], differing: Sequence[str]) -> str:
        """Why a finished run goes on with these settings, and is not another run; empty if it does not.

        Args:
            result: of the finished run.
            settings: the given ones.
            differing: what differs, as "KEY old -> new".
        """
        return ""


@functools.cache
def _record(module: str) -> Feature:
    found: Feature = importlib.import_module(module).FEATURE
    return found


def features() -> Iterator[Feature]:
    """The records, in the order of FEATURES."""
    return map(_record, FEATURES)


def named(name: str) -> Feature:
    """The record of this name; for no name an empty record."""
    return next(one for one in features() if one.name == name) if name else Feature()


def of_kind(kind: str) -> Feature:
    """The record of the feature of a kind of methods; for a kind without one an empty record."""
    return next((one for one in features() if kind and one.kind == kind), Feature())


def waiting(folder: Any) -> Waiting | None:
    """What the run in an output folder waits for, or waited for when it ended; None if it does not wait."""
    return next((found for found in (one.waits(folder) for one in features()) if found is not None), None)


def read(given: Any, planned: bool = False) -> Any:
    """Settings with the values from files that are named in place of values, for all features; see Feature.read."""
    for one in features():
        given = one.read(given, planned)
    return given


def file_in(key: str, value: Any) -> NamedFile | None:
    """The file that a setting names in place of its value, for any feature; see Feature.file_in."""
    return next((found for found in (one.file_in(key, value) for one in features()) if found is not None), None)


def protocols() -> Iterator[Feature]:
    """The records of features that add a protocol of experiments."""
    return (one for one in features() if one.is_protocol)
