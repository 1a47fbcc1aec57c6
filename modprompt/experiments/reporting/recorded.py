"""What tests and trainings leave beside their results: confusions, losses, and the surest mistakes."""

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
from modprompt.experiments.reporting.results import Outcome
from modprompt.io import pages, run_files
from modprompt.io.arrays import read_arrays
from modprompt.io.files import is_inside
from modprompt.io.image_files import FAMILY, read_rgb
from modprompt.io.images import READ_AS
from modprompt.io.text import one_line

if TYPE_CHECKING:
    from numpy.typing import NDArray

_MOST, _SIDE = 12, 128  # pictures of a gallery, and pixels of the longer side of each


class Recorded(NamedTuple):
    """What the tests of a method's seeds recorded, together."""

    names: tuple[str, ...]  # of the C classes, each once: a name of several classes has its label
    confusion: NDArray[np.int64]  # (C, C) images of all seeds, rows by class, columns by predicted class
    wrong: Sequence[run_files.Wrong]  # the wrong images of the first seed
    result: dict[str, Any]  # that seed's


def recorded(outcomes: Sequence[Outcome], faults: list[str]) -> Recorded | None:
    """What the tests of a method recorded; None unless all did, of one list of classes. `faults` gets what lacks."""
    whole: Recorded | None = None
    for outcome, parts in _of_all(
        outcomes, run_files.read_test, "the test did not record the predicted classes", faults
    ):
        names = tuple(distinct(parts.names))
        if whole is None:
            whole = Recorded(names, parts.confusion, parts.wrong, outcome.result or {})
        elif names == whole.names:
            whole = whole._replace(confusion=whole.confusion + parts.confusion)
        else:
            faults.append(
                f"The confusion matrix is not shown, because the classes of {outcome.folder} differ from the classes "
                "of the other seeds."
            )
            return None
    return whole


def stored_features(outcome: Outcome, faults: list[str]) -> dict[str, NDArray[Any]] | None:
    """Return the features (N, E), labels (N,) and predictions (N,) of a test, and the names of the classes.

    None if the run is not finished, or stored no features; then `faults` gets a sentence.
    """
    if not outcome.result or not outcome.folder:
        return None
    try:
        path = run_files.whole_of_test(outcome.folder, outcome.result, run_files.FEATURES)
        test = run_files.read_test(outcome.folder, outcome.result)
        if path is not None and test is not None:
            arrays = read_arrays(path, "features", "labels", "predicted")
            return {**arrays, "names": np.array(distinct(test.names))}
        why = "stored no image features"
    except KeyError:
        why = "stored image features without predicted classes"
    except (UserError, OSError) as error:
        faults.append(one_line(str(error)))
        return None
    faults.append(
        f"The figure of image features is missing, because the finished run {outcome.folder} {why}. To draw the "
        "figure, delete the folder of the run and run the experiment again."
    )
    return None


def losses(outcomes: Sequence[Outcome], faults: list[str]) -> NDArray[np.float64] | None:
    """The mean loss of each epoch of a method's trainings, (seeds, epochs); None if one is missing."""
    curves = [curve for _, curve in _of_all(outcomes, _losses, "the training did not record its losses", faults)]
    if not curves:
        return None
    epochs = min(map(len, curves))
    return np.array([curve[:epochs] for curve in curves])


def _losses(folder: Path, result: dict[str, Any]) -> list[float]:
    """The mean loss of each epoch, over the steps that have one."""
    steps = pd.DataFrame(run_files.read_steps(folder, result) or {}, columns=["epoch", "loss"], dtype=float)
    return list(steps[np.isfinite(steps["loss"])].groupby("epoch", sort=False)["loss"].mean())


def _of_all(
    outcomes: Sequence[Outcome], read: Callable[[Path, dict[str, Any]], Any], lacks: str, faults: list[str]
) -> list[tuple[Outcome, Any]]:
    """What each run recorded; nothing unless all did: pictures are over the same seeds as tables."""
    found = []
    for outcome in outcomes:
        try:
            left = read(outcome.folder, outcome.result or {}) if outcome.folder else None
        except (UserError, OSError) as error:
            faults.append(one_line(str(error)))
            return []
        found.append((outcome, left))
    lacking = [outcome.folder for outcome, left in found if not left]
    if 0 < len(lacking) < len(found):
        faults.append(f"{lacking[0]}: {lacks}, so the records of the other seeds are not shown either.")
    return [] if lacking else found


class Mistake(NamedTuple):
    """A wrong image: its picture as a data address ("" where it is not there), its class, and the predicted one."""

    picture: str
    text: str


def gallery(dataset: str, tests: Sequence[Recorded], data: Path | None) -> list[Mistake]:
    """The mistakes that a method was surest of on a data set, one test for each half of its classes.

    `data` is the folder of all data sets, where the pictures are; None if it is not known.
    """
    every = [(one, wrong) for one in tests for wrong in one.wrong if wrong.top]
    mistakes = []
    for one, wrong in sorted(every, key=lambda pair: -pair[1].probabilities[0])[:_MOST]:
        text = (
            f"True class: {one.names[wrong.label]} ({100 * wrong.own:.0f}%). "
            f"Predicted class: {one.names[wrong.top[0]]} ({100 * wrong.probabilities[0]:.0f}%)."
        )
        path = None if data is None else _find(dataset, one.result, wrong.image, data)
        mistakes.append(Mistake(_picture(path, one.result) if path else "", text))
    return mistakes


def _find(dataset: str, result: dict[str, Any], image: str, data: Path) -> Path | None:
    """Where an image is that a result names by its path below the data set's images: in the data set's folder or one
    or two folders deeper, the upper ones first, or, of images of one's own, in that of all data sets."""
    if not is_inside(image):
        return None
    names = [name.partition("/")[0] for name in result.get("files") or () if is_inside(name)]
    folders = [data / name for name in dict.fromkeys([*names, dataset])]
    places = (folder.glob(depth + glob.escape(image)) for depth in ("", "*/", "*/*/") for folder in folders)
    return next((path for path in (*chain.from_iterable(places), data / image) if path.is_file()), None)


def _picture(path: Path, result: dict[str, Any]) -> str:
    """A small copy as a data address, read as its run read it; "" if it cannot be read."""
    try:
        image = read_rgb(path, (result.get("input") or {}).get(READ_AS, FAMILY))
    except (UserError, OSError):
        return ""
    image.thumbnail((_SIDE, _SIDE))
    file = io.BytesIO()
    image.save(file, "JPEG", quality=85)
    return pages.data_address(file.getvalue())
