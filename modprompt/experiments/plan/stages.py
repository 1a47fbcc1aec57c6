"""What may be trained before a method of an experiment: a search, a teacher, prompts for a head."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from modprompt.methods.search import file
from modprompt.methods.table import BY_NAME, HEADS, kind_of, row_of, sides_of

_OF_SCHEDULE = ("SCHEDULE_", "LENGTHS_", "IMG_ALPHA_PATH", "TXT_ALPHA_PATH")  # how keys begin that set what is found


class Stage:
    """A first stage; this one is none.

    Attributes:
        name: its own, also of its part of a result.
        key: its key in a method of an experiment file.
        names_method: whether the key names another method of the file; else it gives a trainer, config and options,
            with a seed of its own if KEY_seed gives it.
        setting: the setting of a method's node that names what another method has trained.
        called: its name in messages.
        plural: the name of several methods' stages.
        without: what a protocol without first stages says that it has none of.
        group: a report's name for methods on top of what another one has trained.
        parameters: whose trained parameters are counted, too.
        seconds: of which seconds a training has its share.
        tested: percentages in its part of a result, with their names in a report.
    """

    name: ClassVar[str] = ""
    key: ClassVar[str] = ""
    names_method: ClassVar[bool] = False
    setting: ClassVar[str] = ""
    called: ClassVar[str] = ""
    plural: ClassVar[str] = ""
    without: ClassVar[str] = ""
    group: ClassVar[str] = ""
    parameters: ClassVar[str] = ""
    seconds: ClassVar[str] = ""
    tested: ClassVar[Mapping[str, str]] = {}

    def fault(self, trainer: str, keys: Sequence[str], settings: Mapping[str, str]) -> str:
        """Why it cannot come before a trainer; empty if it can.

        Args:
            trainer: its name.
            keys: of its method's options in the file.
            settings: of these options and its config, as text by dotted key.
        """
        return ""

    def finds(self, key: str) -> bool:
        """Whether it finds a setting's value."""
        return False

    def handed_on(self, folder: Path, trainer: str, settings: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
        """The settings, (key, text) pairs, with which a trainer uses what it left in a folder."""
        return ()

    def lacks(self, folder: Any) -> str:
        """What is missing in its output folder; empty if nothing is."""
        return ""


class _Search(Stage):
    name = key = "search"
    called, plural = "its search", "searches"
    without, seconds = "searches: write the schedule out", "a search"
    tested = {"mixture_pct": "mixture", "path_pct": "discrete path"}

    def fault(self, trainer: str, keys: Sequence[str], settings: Mapping[str, str]) -> str:
        """It finds a schedule, which the trainer must accept and must not have yet."""
        if not sides_of(trainer):
            return f"{trainer} is not one of our methods whose schedule can be set"
        node = row_of(trainer).node
        given = [key for key in keys if key.startswith(f"{node}.") and self.finds(key)]
        return f"{given[0]} is set, but a search is to find it" if given else ""

    def finds(self, key: str) -> bool:
        """Whether a key sets a schedule, however it is written."""
        return key.rpartition(".")[2].startswith(_OF_SCHEDULE)

    def handed_on(self, folder: Path, trainer: str, settings: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
        """The schedules of all sides that the trainer's settings can give."""
        row, path = BY_NAME[trainer], folder / file.FILE_NAME
        return tuple((f"{row.node}.SCHEDULE_{side.upper()}", f"@{path}") for side in row.sides)

    def lacks(self, folder: Any) -> str:
        """What is wrong with the schedule."""
        return file.fault(folder)


class _Prompts(Stage):
    name, key, setting = "heads", "prompts_from", "PROMPTS_FROM"
    names_method = True
    called, without, group = "the training of its prompts", "heads on trained prompts", "prompts + head"
    parameters = "of a head, with those of the prompts that it is put on"
    seconds = "the training of the prompts that a head is put on"

    def fault(self, trainer: str, keys: Sequence[str], settings: Mapping[str, str]) -> str:
        """Only a head is put on trained prompts."""
        return "" if kind_of(trainer) == HEADS else f"{trainer} is not a head, and only heads are put on prompts"

    def handed_on(self, folder: Path, trainer: str, settings: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
        """The prompts."""
        return ((f"{BY_NAME[trainer].node}.{self.setting}", str(folder)),)


class _Teacher(Stage):
    name, key = "teachers", "teacher_from"
    names_method = True
    called, plural = "the training of its teacher", "teachers"
    without, seconds = "teachers that it trains: name a checkpoint", "the training of its teacher"

    def fault(self, trainer: str, keys: Sequence[str], settings: Mapping[str, str]) -> str:
        """Only a trainer with a teacher can have it trained, and only if none is set."""
        if not _taught_nodes(trainer, settings):
            return f"{trainer} has no teacher: use PromptKD, or prompts with TRAINER.KDPL.ON True"
        given = [key for key in keys if self.finds(key)]
        return f"{given[0]} is set, but it is to be trained" if given else ""

    def finds(self, key: str) -> bool:
        """Whether a key sets the teacher's prompts."""
        return key.endswith(".TEACHER_CKPT")

    def handed_on(self, folder: Path, trainer: str, settings: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
        """The teacher's prompts."""
        return tuple((f"{node}.TEACHER_CKPT", str(folder)) for node in _taught_nodes(trainer, settings))


def _taught_nodes(trainer: str, settings: Mapping[str, str]) -> list[str]:
    """The nodes under which a trainer with settings, as text, has a teacher."""
    own = ["TRAINER.PROMPTKD"] if trainer == "PromptKD" else []
    return own + (["TRAINER.KDPL"] if settings.get("TRAINER.KDPL.ON") == "True" else [])


STAGES: tuple[Stage, ...] = (_Search(), _Prompts(), _Teacher())
_BY_NAME = {one.name: one for one in (Stage(), *STAGES)}


def stage_of(name: str) -> Stage:
    """The first stage of this name; for no name one that is none."""
    return _BY_NAME[name]
