"""What a run leaves in its folder besides its result: the steps of its training, and what its test says of images.

result.json has a hash of each file, so that none is shown that belongs to another run, or is damaged. Each step is in
steps.csv once: rows are appended, a line that a killed writer cut off is no row, and a run that resumes from an epoch
drops the rows after it first. Nothing heavy is imported here.
"""

import csv
import hashlib
import io
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from modprompt.errors import UserError
from modprompt.io.files import PathLike, read_bytes, sha256_of
from modprompt.io.tables import Cell, as_csv, unshielded, write_table
from modprompt.io.text import one_line, writable

if TYPE_CHECKING:
    import numpy as np

STEPS, STEPS_KEY = "steps.csv", "steps_hash"  # the key is that of the file's hash in result.json
TEST, TEST_KEY = "test", "test_files"  # the folder of a test's files; of their hashes
NPZ, CLASSES, CONFUSION, WRONG = "test.npz", "classes.csv", "confusion.csv", "wrong.csv"
FEATURES = "features.npz"  # of the images, if TEST.KEEP_FEATURES asks for them (trainers/kept_features.py)
OF_TEST = (NPZ, CLASSES, CONFUSION, WRONG, FEATURES)
BINS, MOST_TOP = 15, 5
_EPOCH, _STEP, _RATE = "epoch", "step", "lr"
_WRONG = {"images": "str", "labels": "int64", "top": "int64", "probabilities": "float64", "own": "float64"}  # arrays
_DELETE = "Delete the file, which nothing else needs."
_TEST_AGAIN = "Run the test again to write the file again."
Columns = dict[str, list[float]]


def path_of_steps(run_folder: PathLike) -> str:
    """Where the table of a run's steps is."""
    return os.path.join(run_folder, STEPS)


def read_steps(run_folder: PathLike, result: Mapping[str, object] | None = None) -> Columns | None:
    """The columns of the table of a run's steps by name: epoch, step, what steps reported (loss, acc if there), lr.

    They have one length; a cell without a number is NaN. None if there is no table. Raises UserError if it is damaged,
    or not the one of the result, if that is given.
    """
    path = path_of_steps(run_folder)
    try:
        content = read_bytes(path)
    except FileNotFoundError:
        return None
    known = (result or {}).get(STEPS_KEY)
    if known and hashlib.sha256(content).hexdigest() != known:
        raise UserError(f"{path} is damaged, or comes from a different training run than result.json. {_DELETE}")
    try:
        text = content[: content.rfind(b"\n") + 1].decode("utf-8-sig")  # what is cut off is no row
        names, *lines = list(csv.reader(io.StringIO(text, newline=""), strict=True)) or [[_EPOCH, _STEP, _RATE]]
        rows = [[*map(int, line[:2]), *(float(cell or "nan") for cell in line[2:])] for line in lines]
        if [*names[:2], names[-1]] != [_EPOCH, _STEP, _RATE] or any(len(row) != len(names) for row in rows):
            raise ValueError("the first columns of each row must be epoch and step, and the last column must be lr")
    except (ValueError, csv.Error) as error:
        raise UserError(f"{path} is damaged ({one_line(str(error))[:160]}). {_DELETE}") from None
    return {unshielded(name): [row[at] for row in rows] for at, name in enumerate(names)}


class StepTable:
    """Writes the rows of a training into its folder, many at a time; `begin_steps` makes one. names: its columns."""

    def __init__(self, run_folder: PathLike, names: Sequence[str] = ()):
        self._folder, self._names, self._rows = run_folder, list(names), list[dict[str, Cell]]()

    def add(self, epoch: int, step: int, said: Mapping[str, float], rate: float) -> None:
        """Remember what a step reported until it is written: epoch and step from 1, numbers by name, learning rate.

        What it names like a column of ours gets another name; NaN is none.
        """
        ours = (_EPOCH, _STEP, _RATE)
        named = {one_line(f"{name}_said" if name in ours else name): float(value) for name, value in said.items()}
        self._rows.append(_without_nan({_EPOCH: epoch, _STEP: step, **named, _RATE: float(rate)}))

    def write(self) -> None:
        """Append what was added; if that fails (OSError), nothing has changed. UserError if the table is damaged."""
        names = list(dict.fromkeys([*self._names, *(name for cells in self._rows for name in cells)]))
        if names != self._names:
            names = [*(name for name in names if name != _RATE), _RATE]
            rows = [*_rows(read_steps(self._folder) if self._names else None), *self._rows]
            write_table(path_of_steps(self._folder), names, ([row.get(name) for name in names] for row in rows))
        elif self._rows:
            _append(path_of_steps(self._folder), as_csv([row.get(name) for name in names] for row in self._rows))
        self._names, self._rows = names, []


def _append(path: str, text: str) -> None:
    """Append a text, or leave the file as it was."""
    with open(path, "ab", buffering=0) as file:
        size = file.tell()
        try:
            rest = memoryview(text.encode("utf-8"))
            while rest:
                rest = rest[file.write(rest) :]
        except OSError:
            file.truncate(size)
            raise


def _without_nan(values: Mapping[str, float]) -> dict[str, Cell]:
    return {name: None if math.isnan(value) else value for name, value in values.items()}


def _rows(columns: Columns | None, epochs: float = math.inf) -> list[dict[str, Cell]]:
    """The rows of so many epochs as cells by column, of columns that were read."""
    rows = (dict(zip(columns, row)) for row in zip(*columns.values())) if columns else ()
    return [_without_nan(row) for row in rows if row[_EPOCH] <= epochs]


def begin_steps(run_folder: PathLike, epochs: int, source: PathLike = "") -> tuple[StepTable, str]:
    """Make the table of a run's steps hold those of so many epochs, and no others; with none it begins anew.

    They are those of `source`, the folder of the run that is resumed, by default the same. Returns what writes the
    rest, and a message on what is not in it ("" if nothing is missing).
    """
    kept, why, path = None, "", path_of_steps(run_folder)
    try:
        kept = read_steps(source or run_folder) if epochs else None
        if epochs and kept is None:
            why = f"{path_of_steps(source or run_folder)} does not exist"
        elif kept is not None and max(kept[_EPOCH], default=0) < epochs:
            why = f"{STEPS} ends earlier"
    except UserError as error:
        why = str(error)
    rows = _rows(kept, epochs)
    names = list(kept or ()) if rows else []
    if rows:
        write_table(path, names, (row.values() for row in rows))
    else:
        Path(path).unlink(missing_ok=True)
    first = "epoch 1" if epochs == 1 else f"epochs 1 to {epochs}"
    note = f"note: {STEPS} does not contain all steps of {first}. Reason: {why.rstrip('.')}." if why else ""
    return StepTable(run_folder, names), note


# ---------------------------------------------------------------------- what a test says


class Wrong(NamedTuple):
    """A misclassified image."""

    image: str  # its path below the image folder, or as the data set names it
    label: int
    top: tuple[int, ...]  # up to five labels, the most probable first
    probabilities: tuple[float, ...]  # theirs, from 0 to 1
    own: float  # that of its class


class TestParts(NamedTuple):
    """What a test says about C classes and their images."""

    names: Sequence[str]  # by label
    confusion: "np.ndarray"  # (C, C) images, rows by class and columns by predicted class
    # (15, 3) images, mean confidence and accuracy (0 to 1) of equally wide bins of confidence; no images if unknown
    calibration: "np.ndarray"
    wrong: Sequence[Wrong]  # in the order of the test; none if it is not known which


def path_of_test(run_folder: PathLike, name: str = NPZ) -> str:
    """Where a file of a run's test is."""
    return os.path.join(run_folder, TEST, name)


def remove_test(run_folder: PathLike) -> None:
    """Remove the files of an earlier test; all else there stays."""
    for name in OF_TEST:
        Path(path_of_test(run_folder, name)).unlink(missing_ok=True)


def write_test(run_folder: PathLike, parts: TestParts) -> dict[str, str]:
    """Write the files of a test, each whole; their SHA-256 (hex) by name, for the result's `test_files`."""
    import numpy as np

    from modprompt.io.arrays import write_arrays

    columns = zip(*parts.wrong) if parts.wrong else [()] * len(_WRONG)
    write_arrays(
        path_of_test(run_folder),
        packed=True,
        names=np.array(list(parts.names), dtype=np.str_),
        confusion=np.asarray(parts.confusion, dtype=np.int64),
        calibration=np.asarray(parts.calibration, dtype=np.float64),
        **{name: np.array(values, dtype=kind) for (name, kind), values in zip(_WRONG.items(), columns)},
    )
    names, counts = [writable(name) for name in parts.names], parts.confusion
    totals = zip(names, counts.sum(1).tolist(), counts.diagonal().tolist())
    shares = (  # a class without images has no accuracy
        [label, name, images, right, f"{100 * right / images:.4f}" if images else None]
        for label, (name, images, right) in enumerate(totals)
    )
    write_table(path_of_test(run_folder, CLASSES), ("label", "class", "images", "correct", "accuracy_pct"), shares)
    seen = zip(*(places.tolist() for places in counts.nonzero()))  # a thousand classes have a million pairs
    pairs = ([names[at], names[other], int(counts[at, other])] for at, other in seen)
    write_table(path_of_test(run_folder, CONFUSION), ("class", "taken_for", "images"), pairs)
    width = max((len(one.top) for one in parts.wrong), default=0)
    top = [f"{what}_{place + 1}" for place in range(width) for what in ("class", "probability")]
    wrong = (
        [writable(one.image), names[one.label], f"{one.own:.6f}"]
        + [cell for at, share in zip(one.top, one.probabilities) for cell in (names[at], f"{share:.6f}")]
        for one in parts.wrong
    )
    write_table(path_of_test(run_folder, WRONG), ("image", "class", "probability", *top), wrong)
    return {name: sha256_of(path_of_test(run_folder, name)) for name in OF_TEST if name != FEATURES}


def whole_of_test(run_folder: PathLike, result: Mapping[str, Any], name: str) -> str | None:
    """Where a file of a run's test is; None if it left none; UserError if it is damaged, lost or of another test."""
    hashes, path = result.get(TEST_KEY), path_of_test(run_folder, name)
    if not hashes or name not in hashes:
        return None
    try:
        digest = sha256_of(path)
    except FileNotFoundError:
        raise UserError(f"{path} is missing, although result.json lists this file. {_TEST_AGAIN}") from None
    if digest != hashes[name]:
        raise UserError(f"{path} is damaged, or comes from a different test run than result.json. {_TEST_AGAIN}")
    return path


def read_test(run_folder: PathLike, result: Mapping[str, Any]) -> TestParts | None:
    """What a run's test says about classes and images, None if nothing; raises as `whole_of_test`."""
    path = whole_of_test(run_folder, result, NPZ)
    if path is None:
        return None
    from modprompt.io.arrays import read_arrays

    arrays = read_arrays(path, "names", "confusion", "calibration", *_WRONG)
    names, confusion, calibration, *wrong = arrays.values()
    rows = zip(*(values.tolist() for values in wrong))
    found = [Wrong(image, label, tuple(top), tuple(shares), own) for image, label, top, shares, own in rows]
    return TestParts(names.tolist(), confusion, calibration, found)
