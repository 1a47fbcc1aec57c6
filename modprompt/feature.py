"""What a feature is to all other packages: a record. They walk over the records, and name no feature.

All of a feature lies in one folder, whose feature.py has FEATURE, a Feature that says what is other where there is it;
what it does not say is as if there were no feature. A new one is such a folder and its row in FEATURES.

A record is read before PyTorch is there, and by results and settings, which need none: feature.py imports what an entry
needs inside the entry. A configuration (cfg) is that of a run, as Dassl has it.
"""

import functools
import importlib
from typing import Any, Callable, ClassVar, Iterator, List, Mapping, NamedTuple, Optional, Sequence, Tuple, Type

from modprompt.fields import Configured

FEATURES: List[str] = [
    "modprompt.methods.search.feature",
    "modprompt.methods.heads.feature",
    "modprompt.active.feature",
    "modprompt.hosts.feature",
    "modprompt.methods.teachers.feature",
]


class Waiting(NamedTuple):
    """What a run waits for that somebody has to do.

    text: in a line.
    still: whether it is not done yet.
    """

    text: str
    still: bool


class NamedFile(NamedTuple):
    """What a setting may name in place of its value.

    path: of the file; empty if it names none.
    mark: what the setting's text has before it.
    """

    path: str
    mark: str


class Content(NamedTuple):
    """A file or folder that a method's setting names and that is known by what it holds, wherever it lies by now.

    fact: under which a method says the hash of it.
    key: how the setting's key ends.
    hash_of: gives the hash of what is at a path now; raises OSError or UserError where there is no such thing.
    changed: what is said of a path that holds another one now.
    of_clip: whether it is a CLIP, and the backbone under its own name means the same as no name.
    """

    fact: str
    key: str
    hash_of: Callable[[str], str]
    changed: str = "{} is another one now"
    of_clip: bool = False


class FirstStage(NamedTuple):
    """What is trained before a method of an experiment; all is empty for a feature that has no such thing.

    key: what a method of an experiment file calls it.
    names_method: whether it is another method of the file, under its name; else it is a trainer, config and options of
        its own, with one seed of its own where KEY_seed gives it.
    setting: the setting of a method's node that names what another method has trained.
    name: what a method's is called in messages.
    plural: what those of several methods are called.
    without: what a protocol that has no first stages says it has none of.
    group: the methods of a report that stand on what another one has trained.
    parameters: whose trained parameters are counted too.
    seconds: what a training has its share of.
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
        name: what results and records call it.
        node: its config node; empty if it has none.
        labelling: how images that have no label get one, in a sentence.
        decided: keys of its node that nobody gives, as `decides` has them: they decide no number by themselves.
        leaves: names in an output folder that show a training of it.
        alone: why a run of another kind has no training that it takes part in.
        otherwise: what is said of a trainer that has nothing of it, behind its name.
        stage: its first stage in experiments.
        tested: percentages in its part of a result, with what a report calls them.
        is_protocol: whether it adds the protocol of experiments of its name; see plan and report.
        narrows: by flag, what a command says of the names that it narrows an experiment to.
        figures: the names of those that its report may draw.
        in_records: whether a method's record may have its settings, under its name.
        stands_on: what a method's record calls that of another method, on whose findings it stands.
        contents: what its methods' settings name and that is known by what it holds.
        chosen: names of its parts of a result that say what a run chose; its checkpoints have them, too.
        learned: what a card calls what its kind of methods learns, in front of "a frozen CLIP".
        of_others: what a card says of other classes than those of the training.
        kind: the methods (methods/table.py) whose trainers it makes of parts of its own; empty for none.
    """

    name: ClassVar[str] = ""
    node: ClassVar[str] = ""
    labelling: ClassVar[str] = ""
    decided: ClassVar[Mapping[str, Any]] = {}
    leaves: ClassVar[Tuple[str, ...]] = ()
    alone: ClassVar[str] = ""
    otherwise: ClassVar[str] = ""
    stage: ClassVar[FirstStage] = FirstStage()
    tested: ClassVar[Mapping[str, str]] = {}
    is_protocol: ClassVar[bool] = False
    narrows: ClassVar[Mapping[str, str]] = {}
    figures: ClassVar[Tuple[str, ...]] = ()
    in_records: ClassVar[bool] = False
    stands_on: ClassVar[str] = ""
    contents: ClassVar[Tuple[Content, ...]] = ()
    chosen: ClassVar[Tuple[str, ...]] = ()
    learned: ClassVar[str] = "Prompts in front of"
    of_others: ClassVar[str] = ""
    kind: ClassVar[str] = ""

    # ------------------------------------------------------------------ settings

    def settings(self) -> Optional[Type[Configured]]:
        """What its node has; None without one."""
        return None

    def help(self, method: Any) -> str:
        """What --help says of it beside the settings of a method; empty if the method has nothing of it."""
        return ""

    def flags(self, add: Callable[..., Any]) -> None:
        """Add its flags to those of the program, as argparse's add_argument does."""

    def source(self, args: Any) -> Optional[Any]:
        """Where the program takes modules, data sets' configs and readers from (Source in modprompt/cli/train.py).

        Args:
            args: its flags; asked before anything heavy is imported.

        Returns:
            None where these are ours.
        """
        return None

    def check_given(self, given: Any) -> None:
        """Complain about settings that nobody may give."""

    def read(self, given: Any, planned: bool = False) -> Any:
        """Settings (io/settings.py) in which files that are named in place of values are read.

        Args:
            given: what files, flags and options give.
            planned: the run is not started now: a file that is not there stays a name, and nothing is warned of.
        """
        return given

    def file_in(self, key: str, value: Any) -> Optional[NamedFile]:
        """The file that a setting names in place of its value; None if `read` has nothing to do with the setting."""
        return None

    def takes_all(self, given: Callable[[str], str], trainer: str) -> bool:
        """Whether a run takes all training images where nothing says how many, into an output folder of its own.

        Args:
            given: what is given for a dotted key, as text; empty if nothing is.
            trainer: its name.
        """
        return False

    def decides(self, cfg: Any, given: Any, method: Any, node: str) -> Mapping[str, Any]:
        """The values of `decided` in a configuration, which is complained about where it does not fit.

        Args:
            cfg: merged.
            given: what files, flags and options give.
            method: the class of the trainer's method; None of another's trainer.
            node: the method's node under TRAINER; empty for a method that learns nothing.
        """
        return {}

    def check(self, cfg: Any) -> None:
        """Complain, before any work, about a configuration that does not fit."""

    def takes_part(self, cfg: Any) -> bool:
        """Whether it takes part in the training of a configuration, which then needs validation images."""
        return False

    def labels_later(self, cfg: Any) -> bool:
        """Whether images that have no label get one in the course of the run."""
        return False

    def single(self) -> Mapping[str, Any]:
        """Keys of its node, with the values that they have in one training or test: a run of another kind has many."""
        return {}

    # ------------------------------------------------------------------ a run

    def run(self, cfg: Any, settings: Any) -> bool:
        """Run what a configuration asks for, if that is a run of another kind, and leave its result.

        Returns:
            Whether it was: else it is a training, as all are.
        """
        return False

    def check_single(self, cfg: Any) -> None:
        """Complain about a trainer that is built by another program than ours, where it should not be alone."""

    def require_free(self, folder: str) -> None:
        """Complain about an output folder that a single training or test would spoil."""

    def parts(self) -> Any:
        """What the trainers of its kind of methods are made of (trainers/prompt_trainer.py)."""
        raise NotImplementedError

    def method(self, method: Any, cfg: Any) -> Any:
        """What a run's method becomes."""
        return method

    def preload(self) -> None:
        """Import what its runs need, before any of them begins."""

    def part(self, trainer: Any) -> Optional[Any]:
        """What a trainer has beside its parts (FeaturePart in trainers/part.py); None if it has nothing of it."""
        return None

    def imported(self, frame: Any) -> None:
        """A module of ours that an import line may name was imported.

        Args:
            frame: the module's.
        """

    # ------------------------------------------------------------------ experiments

    def plan(self) -> Any:
        """The module that plans the runs of its protocol (Added in modprompt/experiments/plan/experiment.py)."""
        raise NotImplementedError

    def report(self) -> Any:
        """The module that reports what came of them."""
        raise NotImplementedError

    def chose_images(self, result: Mapping[str, Any]) -> bool:
        """Whether a result's run has chosen the images of its training, so that its split says which there were."""
        return False

    def fault_of_stage(self, trainer: str, keys: Sequence[str], settings: Mapping[str, str]) -> str:
        """Why its first stage cannot stand before a trainer; empty if it can.

        Args:
            trainer: its name.
            keys: of the options that its method has in the file.
            settings: of these and its config, as text by dotted key.
        """
        return ""

    def finds(self, key: str) -> bool:
        """Whether its first stage finds the value of a setting."""
        return False

    def handed_on(self, folder: Any, trainer: str, settings: Mapping[str, str]) -> Tuple[Tuple[str, str], ...]:
        """The settings, (key, text) pairs, by which a trainer takes what its first stage has left in a folder."""
        return ()

    # ------------------------------------------------------------------ what runs leave

    def result_forms(self) -> Mapping[str, Any]:
        """The forms (io/schema.py) of its parts of a result."""
        return {}

    def card(self, method: Mapping[str, Any]) -> List[Tuple[str, str]]:
        """Rows of a card, (name, text), by what a checkpoint says of its method."""
        return []

    def untested(self, result: Mapping[str, Any]) -> bool:
        """Whether a result may lack an accuracy."""
        return False

    def labels(self, result: Mapping[str, Any]) -> str:
        """How many labels the run of a result has asked for, in words; empty if it has not."""
        return ""

    def lacks(self, folder: Any) -> str:
        """What a training that it takes part in has not left in its output folder; empty if nothing lacks."""
        return ""

    def changed(self, folder: Any, result: Mapping[str, Any]) -> List[str]:
        """What is other now in the output folder of a finished run than when it ran, so that it runs again."""
        return []

    def waits(self, folder: Any) -> Optional[Waiting]:
        """What the run in an output folder waits for, or waited for when it ended; None if it has not ended so."""
        return None

    def progress(self, folder: Any) -> str:
        """How far the run in an output folder is beside its epochs, in words; empty if that says nothing."""
        return ""

    def goes_on(self, result: Mapping[str, Any], settings: Mapping[str, str], differing: Sequence[str]) -> str:
        """Why a finished run goes on, and is not another one; empty if it does not.

        Args:
            result: its own.
            settings: those that are given now.
            differing: what differs, as "KEY old -> new".
        """
        return ""

    def settings_in(self, folder: str) -> Optional[Mapping[str, Any]]:
        """The settings of the run in an output folder, by a record of its own; None if there is none."""
        return None


@functools.lru_cache(maxsize=None)
def _record(module: str) -> Feature:
    found: Feature = importlib.import_module(module).FEATURE
    return found


def features() -> Iterator[Feature]:
    """The records, in the order of FEATURES."""
    return map(_record, FEATURES)


def named(name: str) -> Feature:
    """The record of this name; of no name one that says nothing."""
    return next(one for one in features() if one.name == name) if name else Feature()


def of_kind(kind: str) -> Feature:
    """The record of the feature of a kind of methods; of a kind without one a record that says nothing."""
    return next((one for one in features() if kind and one.kind == kind), Feature())


def waiting(folder: Any) -> Optional[Waiting]:
    """What the run in an output folder waits for, or waited for when it ended; None if it has not ended so."""
    return next((found for found in (one.waits(folder) for one in features()) if found is not None), None)


def read(given: Any, planned: bool = False) -> Any:
    """Settings in which files that are named in place of values are read, by all features; see Feature.read."""
    for one in features():
        given = one.read(given, planned)
    return given


def file_in(key: str, value: Any) -> Optional[NamedFile]:
    """The file that a setting names in place of its value, for any feature; see Feature.file_in."""
    return next((found for found in (one.file_in(key, value) for one in features()) if found is not None), None)


def contents() -> Iterator[Content]:
    """What methods' settings name and that is known by what it holds, of all features."""
    return (content for one in features() for content in one.contents)


def protocols() -> Iterator[Feature]:
    """The records of features that add a protocol of experiments."""
    return (one for one in features() if one.is_protocol)
