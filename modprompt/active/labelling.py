"""Labels for what a round has chosen: those that the data set knows, or those that somebody fills into its file.

The file is round_3.csv, and round_3.html shows the images. A run that lacks labels stops, and goes on when they are
there.
"""

from __future__ import annotations

from pathlib import Path
from typing import Sequence

from modprompt.active import picks_file, sheet
from modprompt.active.pool import UNKNOWN, Pool
from modprompt.active.record import Picked, Round
from modprompt.data.class_names import distinct
from modprompt.errors import UserError, WaitsForLabels
from modprompt.runs.rounds import WAITING, round_name
from modprompt.storage.text import write_json


def file_of(folder: Path, number: int) -> Path:
    """The file of a round's picks."""
    return folder / f"{round_name(number)}.csv"


def rows_of(picks: Sequence[Picked], names: Sequence[str]) -> list[picks_file.Row]:
    """The lines of a round's file, with no labels but those that are free."""
    shown = ["", *distinct(names)]
    return [
        picks_file.Row(
            rank,
            pick.file,
            shown[_place(pick.predicted)],
            pick.probability,
            pick.score,
            pick.reason,
            shown[_place(pick.free)],
        )
        for rank, pick in enumerate(picks, start=1)
    ]


def _place(label: int | None) -> int:
    return 0 if label is None else label + 1


def write_files(folder: Path, one: Round, pool: Pool) -> None:
    """Write a round's file of picks, with the labels that are known by now, and the page that shows them."""
    rows, shown = rows_of(one.picks, pool.names), ["", *distinct(pool.names)]
    filled = [row._replace(label=row.label or shown[_place(pick.label)]) for row, pick in zip(rows, one.picks)]
    picks_file.write(file_of(folder, one.number), filled)
    _write_sheet(folder, one, rows, pool, ask=not one.labelled, labels=[pick.label for pick in one.picks])


def _write_sheet(
    folder: Path, one: Round, rows: Sequence[picks_file.Row], pool: Pool, ask: bool, labels: Sequence[int | None]
) -> None:
    title = f"Round {one.number}: {len(rows)} images"
    sheet.write(folder / f"{round_name(one.number)}.html", rows, pool.root, title, pool.names, ask, labels)


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

    def labelled(self, one: Round) -> Round:
        """The round with a label for every pick.

        Raises:
            WaitsForLabels: if some are still to be filled in; what waits is noted beside the file.
            UserError: if the file does not fit.
        """
        if not self.asks:
            return self._with(one, [self._truth(pick) for pick in one.picks])
        path = file_of(self.folder, one.number)
        if not path.is_file():
            write_files(self.folder, one, self.pool)
        rows = rows_of(one.picks, self.pool.names)
        labels = picks_file.read_labels(path, rows, self.pool.names)
        missing = sum(label is None for label in labels)
        if missing:
            facts = {"round": one.number, "file": path.name, "missing": missing, "of": len(labels)}
            write_json(self.folder / WAITING, facts)
            _write_sheet(self.folder, one, rows, self.pool, ask=True, labels=labels)  # with what is there by now
            raise WaitsForLabels(
                f"round {one.number} lacks {missing} of {len(labels)} labels: fill class names into the column `label` "
                f"of {path} ({path.with_suffix('.html').name} shows the images), then give the same command again"
            )
        (self.folder / WAITING).unlink(missing_ok=True)
        return self._with(one, labels)

    def _truth(self, pick: Picked) -> int:
        return self.pool.truth(self.pool.place(pick.file)) if pick.free is None else pick.free

    def _with(self, one: Round, labels: Sequence[int | None]) -> Round:
        return one._replace(picks=tuple(pick._replace(label=label) for pick, label in zip(one.picks, labels)))

    def require_unchanged(self, one: Round) -> None:
        """Complain about labels that were changed in the file of a round which has used others.

        Raises:
            UserError: if there are any.
        """
        path = file_of(self.folder, one.number)
        if not self.asks or not path.is_file():
            return
        blank = [pick._replace(label=None) for pick in one.picks]
        labels = picks_file.read_labels(path, rows_of(blank, self.pool.names), self.pool.names)
        other = [pick.file for pick, label in zip(one.picks, labels) if label not in (None, pick.label)]
        if other:
            raise UserError(
                f"{path} has other labels than round {one.number} was trained with (e.g. of {other[0]}): to train anew "
                f"with these, move {round_name(one.number)}.json and all of later rounds away; else put them back"
            )
