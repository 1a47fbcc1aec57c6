"""The files that tests and trainings store next to their results: confusion matrices, errors, losses and features."""

from __future__ import annotations

import glob
import io
from collections.abc import Callable, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from modprompt.data.class_names import distinct
from modprompt.errors import UserError
from modprompt.io import pages, run_files
from modprompt.io.arrays import read_arrays
from modprompt.io.files import is_inside
from modprompt.io.image_files import FAMILY, read_rgb
from modprompt.io.settings import READ_AS
from modprompt.io.text import one_line

if TYPE_CHECKING:
    from numpy.typing import NDArray

_MOST_ERRORS = 12  # images of a gallery
_SIDE = 128  # pixels of the longer side of an image of a gallery


class StoredTests(NamedTuple):
    """The stored test results of a method: the confusion matrix of all seeds, and the errors of the first seed."""

    names: tuple[str, ...]  # of the C classes; classes with the same name are distinguished by their labels
    confusion: NDArray[np.int64]  # (C, C) numbers of images of all seeds, by true and predicted class
    wrong: Sequence[run_files.Wrong]  # the misclassified images of the first seed
    result: dict[str, Any]  # the result of the first seed


def read_tests(rows: pd.DataFrame, problems: list[str]) -> StoredTests | None:
    """Return what the tests of a method stored, or None unless all seeds stored it for the same classes.

    Args:
        rows: the rows of all seeds of a frame of runs.
        problems: receives a sentence for each file that is missing or damaged.
    """
    record: StoredTests | None = None
    tests = _read_all(rows, run_files.read_test, "the test did not record the predicted classes", problems)
    for run, parts in tests:
        names = tuple(distinct(parts.names))
        if record is None:
            record = StoredTests(names, parts.confusion, parts.wrong, run.result)
        elif names == record.names:
            record = record._replace(confusion=record.confusion + parts.confusion)
        else:
            problems.append(
                f"The confusion matrix is not shown, because the classes of {run.folder} differ from the classes of "
                "the other seeds."
            )
            return None
    return record


def read_features(run: Any, problems: list[str]) -> dict[str, NDArray[Any]] | None:
    """Return the image features of a test, or None if the run has not finished or stored no features.

    Args:
        run: a row of a frame of runs.
        problems: receives a sentence if a finished run has no features.

    Returns:
        The arrays `features` (N, E), `labels` (N,), `predicted` (N,) and `names` (C,), the names of the classes.
    """
    if not run.result or not run.folder:
        return None
    try:
        path = run_files.whole_of_test(run.folder, run.result, run_files.FEATURES)
        test = run_files.read_test(run.folder, run.result)
        if path is not None and test is not None:
            arrays = read_arrays(path, "features", "labels", "predicted")
            return {**arrays, "names": np.array(distinct(test.names))}
        why = "stored no image features"
    except KeyError:
        why = "stored image features without predicted classes"
    except (UserError, OSError) as error:
        problems.append(one_line(str(error)))
        return None
    problems.append(
        f"The figure of image features is missing, because the finished run {run.folder} {why}. To draw the figure, "
        "delete the folder of the run and run the experiment again."
    )
    return None


def read_losses(rows: pd.DataFrame, problems: list[str]) -> NDArray[np.float64] | None:
    """Return the mean training loss of each epoch (seeds, epochs), or None if a training stored no losses."""
    lacks = "the training did not record its losses"
    curves = [curve for _, curve in _read_all(rows, _losses_of_epochs, lacks, problems)]
    if not curves:
        return None
    epochs = min(map(len, curves))
    return np.array([curve[:epochs] for curve in curves])


def _losses_of_epochs(folder: Path, result: dict[str, Any]) -> list[float]:
    steps = pd.DataFrame(run_files.read_steps(folder, result) or {}, columns=["epoch", "loss"], dtype=float)
    return list(steps[np.isfinite(steps["loss"])].groupby("epoch", sort=False)["loss"].mean())


def _read_all(
    rows: pd.DataFrame, read: Callable[[Path, dict[str, Any]], Any], lacks: str, problems: list[str]
) -> list[tuple[Any, Any]]:
    """Return each run with its stored record, or an empty list unless all runs have one.

    Figures show the same seeds as the tables, so the records of only some seeds are not used.
    """
    records = []
    for run in rows.itertuples():
        try:
            records.append((run, read(run.folder, run.result or {}) if run.folder else None))
        except (UserError, OSError) as error:
            problems.append(one_line(str(error)))
            return []
    lacking = [run.folder for run, record in records if not record]
    if 0 < len(lacking) < len(records):
        problems.append(f"{lacking[0]}: {lacks}, so the records of the other seeds are not shown either.")
    return [] if lacking else records


class Mistake(NamedTuple):
    """A misclassified image."""

    picture: str  # the image as a data address; "" if the file was not found
    text: str  # the true and the predicted class with their probabilities


def gallery(dataset: str, tests: Sequence[StoredTests], data: Path | None) -> list[Mistake]:
    """Return the most confident errors of a method on a data set.

    Args:
        dataset: the data set.
        tests: one record for each half of the classes.
        data: the folder of the data sets; None if it is unknown.
    """
    errors = [(test, wrong) for test in tests for wrong in test.wrong if wrong.top]
    mistakes = []
    for test, wrong in sorted(errors, key=lambda error: -error[1].probabilities[0])[:_MOST_ERRORS]:
        text = (
            f"True class: {test.names[wrong.label]} ({100 * wrong.own:.0f}%). "
            f"Predicted class: {test.names[wrong.top[0]]} ({100 * wrong.probabilities[0]:.0f}%)."
        )
        path = None if data is None else _find_image(dataset, test.result, wrong.image, data)
        mistakes.append(Mistake(_thumbnail(path, test.result) if path else "", text))
    return mistakes


def _find_image(dataset: str, result: dict[str, Any], image: str, data: Path) -> Path | None:
    """Return the path of an image, which a result names by its path below the images of the data set.

    The image is searched in the folder of the data set and up to two folders deeper, and then, for a custom image
    folder, in the folder of all data sets.
    """
    if not is_inside(image):
        return None
    names = [name.partition("/")[0] for name in result.get("files") or () if is_inside(name)]
    folders = [data / name for name in dict.fromkeys([*names, dataset])]
    paths = (folder.glob(depth + glob.escape(image)) for depth in ("", "*/", "*/*/") for folder in folders)
    return next((path for path in (*chain.from_iterable(paths), data / image) if path.is_file()), None)


def _thumbnail(path: Path, result: dict[str, Any]) -> str:
    """Return a small copy of an image as a data address, decoded like in the run; "" if the file is damaged."""
    try:
        image = read_rgb(path, (result.get("input") or {}).get(READ_AS, FAMILY))
    except (UserError, OSError):
        return ""
    image.thumbnail((_SIDE, _SIDE))
    file = io.BytesIO()
    image.save(file, "JPEG", quality=85)
    return pages.data_address(file.getvalue())
