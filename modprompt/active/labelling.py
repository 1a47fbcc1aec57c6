"""Labels for what a round has chosen: those that the data set knows, or those that somebody fills into its file.

The file is round_3.csv, and round_3.html shows the images. A run that lacks labels stops, and goes on when they are
there.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from modprompt.active import picks_file, record, sheet
from modprompt.active.pool import Pool
from modprompt.active.record import Picked, Round
from modprompt.data.class_names import distinct
from modprompt.data.images import UNKNOWN
from modprompt.data.rounds import WAITING, round_name
from modprompt.errors import UserError, WaitsForLabels
from modprompt.io.files import write_json
from modprompt.io.image_files import rule_of_run


def file_of(folder: Path, number: int) -> Path:
    """The file of a round's picks."""
    return folder / f"{round_name(number)}.csv"


def rows_of(one: Round, names: Sequence[str]) -> list[picks_file.Row]:
    """The lines of a round's file, with only the labels that the model gave; class names by label."""
    names = distinct(names)

    def named(label: int | None) -> str:
        return "" if label is None else names[label]

    return [
        picks_file.Row(
            rank, pick.file, named(pick.predicted), pick.probability, pick.score, pick.reason, named(pick.free)
        )
        for rank, pick in enumerate(one.picks, start=1)
    ]


def read_labels(folder: Path, one: Round, names: Sequence[str]) -> list[int | None]:
    """The labels in a round's file, in the order of its picks; those that the model gave are as in the record."""
    return picks_file.read_labels(file_of(folder, one.number), rows_of(one, names), names)


def differing(output_dir: str | Path, result: Mapping[str, Any]) -> list[str]:
    """Which rounds of a finished run have other labels in their file than it was trained with, or no record any more.

    Args:
        output_dir: of the run.
        result: its result; without rounds nothing differs.
    """
    rounds, names = (result.get("active") or {}).get("rounds"), (result.get("class_names") or {}).get("names")
    if not rounds or not names:
        return []
    folder, faults = record.folder_of(str(output_dir)), []
    for number in range(len(rounds)):
        try:
            one = record.read(folder, number)
            if one is None:
                faults.append(f"round {number} has no record any more")
            elif read_labels(folder, one, names) != one.labels:
                faults.append(f"labels of round {number} were changed")
        except UserError as error:
            faults.append(str(error))
    return faults


class Labelling:
    """Gives labels to picks.

    Args:
        folder: where rounds are kept.
        pool: the images.
        ask: whether labels are asked for even where the data set knows them.
    """

    def __init__(self, folder: Path, pool: Pool, ask: bool) -> None:
        self.folder, self.pool = folder, pool
        self.asks = ask or any(pool.truth(place) == UNKNOWN for place in pool.unlabelled)

    def put_aside(self, one: Round) -> None:
        """For a round without a record: a file of its name that has labels of other images is renamed."""
        path = file_of(self.folder, one.number)
        if not path.is_file():
            return
        try:
            self._read(one)
        except UserError as error:
            names = (path.with_name(f"{path.stem}.aside{number}.csv") for number in itertools.count(1))
            kept = next(name for name in names if not name.exists())
            path.rename(kept)
            print(f"{error}: it is kept as {kept.name}")

    def show(self, one: Round) -> None:
        """Write the files of a round, with the labels known so far; what people wrote stays."""
        path = file_of(self.folder, one.number)
        if not path.is_file() or (None not in one.labels and None in self._read(one)):
            self._write_sheet(one, one.labels)  # first: labels in the file mean a finished page
            names = distinct(self.pool.names)
            rows = zip(rows_of(one, self.pool.names), one.labels)
            picks_file.write(path, [row if label is None else row._replace(label=names[label]) for row, label in rows])
        elif not path.with_suffix(".html").is_file():
            self._write_sheet(one, self._read(one))

    def _write_sheet(self, one: Round, labels: Sequence[int | None]) -> None:
        """The page that shows a round's images; it asks for labels as long as one is missing."""
        rows, path = rows_of(one, self.pool.names), file_of(self.folder, one.number).with_suffix(".html")
        title = f"Round {one.number}: {len(rows)} images"
        sheet.write(path, rows, self.pool.root, title, self.pool.names, None in labels, labels, rule_of_run())

    def _read(self, one: Round) -> list[int | None]:
        return read_labels(self.folder, one, self.pool.names)

    def labelled(self, one: Round) -> Round:
        """The round with a label for every pick.

        Raises:
            WaitsForLabels: if some are missing; what is missing is noted next to the file.
            UserError: if the file is wrong, or has labels that nobody asks for any more.
        """
        labels, path = self._read(one), file_of(self.folder, one.number)
        if not self.asks:
            truths = [self._truth(pick) for pick in one.picks]
            if any(label not in (None, truth) for label, truth in zip(labels, truths)):
                raise UserError(
                    f"{path} has labels that somebody filled in: ACTIVE.ASK True goes on with them; to use the data "
                    "set's, empty the column `label`"
                )
            labels = [*truths]
        missing = labels.count(None)
        if missing:
            facts = {"round": one.number, "file": path.name, "missing": missing, "of": len(labels)}
            write_json(self.folder / WAITING, facts)
            self._write_sheet(one, labels)  # with those that are filled in by now
            raise WaitsForLabels(
                f"round {one.number} lacks {missing} of {len(labels)} labels: fill class names into the column `label` "
                f"of {path} ({path.with_suffix('.html').name} shows the images), then give the same command again"
            )
        (self.folder / WAITING).unlink(missing_ok=True)
        return one._replace(picks=tuple(pick._replace(label=label) for pick, label in zip(one.picks, labels)))

    def _truth(self, pick: Picked) -> int:
        return self.pool.truth(self.pool.place(pick.file)) if pick.free is None else pick.free

    def require_unchanged(self, one: Round) -> None:
        """Raise UserError if the file of a round has other labels than its record."""
        path = file_of(self.folder, one.number)
        labels = zip(one.picks, self._read(one)) if path.is_file() else ()
        other = [pick.file for pick, label in labels if label not in (None, pick.label)]
        if other:
            raise UserError(
                f"{path} has other labels than round {one.number} has (e.g. of {other[0]}): to train anew with these, "
                f"move {round_name(one.number)}.json and all later rounds away (not this file); else put the "
                "old labels back"
            )
