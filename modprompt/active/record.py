"""The record of a round: what was chosen, which labels it got, its results; and the generators' states next to it.

Written when images are chosen, when they have labels, and when the round is done; each time whole. A killed run
resumes from the newest.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from modprompt.active.picks_file import Picked
from modprompt.data.rounds import FOLDER, known, round_name
from modprompt.errors import UserError
from modprompt.io import folder as run_folder
from modprompt.io.files import write_json
from modprompt.io.records import read_json
from modprompt.io.tensors import read_tensors, write_tensors
from modprompt.trainers import run_facts
from modprompt.trainers.training_state import random_states, restore_random

CHOSEN, TESTED = "chosen", "tested"  # after what the states of generators are kept


class Round(NamedTuple):
    """A round as far as it has come.

    number: from 0.
    settings: what must be the same to resume, as {name: text}.
    picks: in the order of choosing.
    facts: its results; None before it is done.
    """

    number: int
    settings: dict[str, str]
    picks: tuple[Picked, ...]
    facts: dict[str, Any] | None = None

    @property
    def labels(self) -> list[int | None]:
        """Of the picks, as far as they are known."""
        return [pick.label for pick in self.picks]


def folder_of(output_dir: str | Path) -> Path:
    """Where the rounds of a run are kept."""
    return Path(output_dir) / FOLDER


def write(folder: Path, one: Round) -> None:
    """Write a round's record, whole."""
    picks = [pick._asdict() for pick in one.picks]
    write_json(folder / f"{round_name(one.number)}.json", {**one._asdict(), "picks": picks})


def read(folder: Path, number: int) -> Round | None:
    """The record of a round; None if there is none, UserError if it is damaged."""
    path = folder / f"{round_name(number)}.json"
    if not path.exists():
        return None
    content = read_json(path) or {}
    try:
        facts = {name: content[name] for name in Round._fields}
        return Round(**{**facts, "picks": tuple(Picked(**pick) for pick in content["picks"])})
    except (KeyError, TypeError):
        raise UserError(f"{path} is damaged. {_advice(folder, number)}") from None


def require_whole(folder: Path) -> int:
    """How many rounds a folder has; UserError if one has no record, but a later one has."""
    numbers = known(folder)
    for number, there in enumerate(numbers):
        if number != there:
            raise UserError(
                f"{folder} contains a record of round {there}, but the record of the earlier round {number} is "
                f"missing. Restore {round_name(number)}.json, or move the files of all later rounds to another folder."
            )
    return len(numbers)


def require_same(mine: Mapping[str, str], one: Round, folder: Path) -> None:
    """Raise UserError, naming what differs, unless a round belongs to the run with these facts."""
    try:
        run_facts.require_same(mine, one.settings, str(folder))
    except UserError as error:
        raise UserError(
            f"{str(error).rstrip('.')}. Do not delete the files round_*.csv in {folder}, because they contain the "
            "selected images and their labels."
        ) from None


def take_over(other: str, folder: Path, mine: Mapping[str, str]) -> None:
    """Copy all rounds of another run, RESUME, whole or not at all, if this one has none yet.

    Args:
        other: the other run's output folder.
        folder: where this run's rounds are kept.
        mine: the facts that must be the same.

    Raises:
        UserError: if there are no rounds, their run has other settings, or files would be lost.
    """
    if known(folder):
        print(f"note: RESUME {other} is ignored, because {folder} already contains rounds of this run.")
        return
    source = folder_of(other)
    if not known(source):
        raise UserError(
            f"RESUME: {other} contains no active-learning rounds to resume from. Choose the output folder of a run "
            "with rounds."
        )
    if folder.is_dir() and any(folder.iterdir()):
        raise UserError(
            f"RESUME {other} needs an empty folder for the rounds, but {folder} is not empty. Move its files to "
            "another folder, or use a different --output-dir."
        )
    with run_folder.hold(other):
        for number in range(require_whole(source)):
            one = read(source, number)
            assert one is not None
            require_same(mine, one, source)
        part = folder.with_name(f".{folder.name}.part")
        shutil.rmtree(part, ignore_errors=True)  # of a killed start
        shutil.copytree(source, part, ignore=shutil.ignore_patterns("job", "*.part"))
        part.rename(folder)
    print(f"Resuming from the rounds in {other}")


def keep_states(folder: Path, number: int, after: str) -> None:
    """Keep the states of all random generators after a round's choice or test, before its record says that it is done.

    A start that is killed in between goes on from the earlier state.
    """
    path = folder / f"{round_name(number)}.pt"
    earlier = {} if after == CHOSEN else read_tensors(path)
    write_tensors(path, {**earlier, after: random_states()})


def restore_states(folder: Path, number: int, after: str) -> None:
    """Put the generators where they were; UserError if the file is missing, damaged or of another version."""
    path = folder / f"{round_name(number)}.pt"
    try:
        restore_random(read_tensors(path)[after])
    except (LookupError, TypeError, UserError) as error:
        said = str(error).rstrip(".") if isinstance(error, UserError) else f"{path} contains no state of round {number}"
        raise UserError(
            f"The states of the random generators cannot be restored ({said}). {_advice(folder, number)}"
        ) from None


def _advice(folder: Path, number: int) -> str:
    return (
        f"To select images again from round {number} on, move {folder / round_name(number)}.* and the files of all "
        "later rounds to another folder, then run the same command again."
    )
