"""What a test leaves besides its result: confusion, calibration and the wrong images, read only where a page needs it.

They are in the folder `test` of a run. result.json has a hash of each file, so that none is shown that belongs to
another test, or is damaged.
"""

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from modprompt.errors import UserError
from modprompt.io.paths import is_link
from modprompt.io.safe_open import PathLike
from modprompt.io.tables import Cell, write_table
from modprompt.io.text import sha256_of, writable

if TYPE_CHECKING:  # reading results alone imports no NumPy
    import numpy as np

FOLDER, FILE_NAME = "test", "test.npz"
CLASSES, CONFUSION, WRONG = "classes.csv", "confusion.csv", "wrong.csv"
FEATURES = "features.npz"  # of the images, if TEST.KEEP_FEATURES asks for them (trainers/kept_features.py)
NAMES = (FILE_NAME, CLASSES, CONFUSION, WRONG)  # of what every test leaves
ALL = (*NAMES, FEATURES)
KEY = "test_files"  # of their hashes in result.json
BINS, MOST_TOP = 15, 5
_ARRAYS = ("names", "confusion", "calibration", "images", "labels", "top", "probabilities", "own")
_TO_DO = "test again to make it anew"


class Wrong(NamedTuple):
    """A misclassified image.

    Attributes:
        image: its path below the image folder, or as the data set names it.
        label: the number of its class.
        top: numbers of up to five classes, the most probable first.
        probabilities: theirs, from 0 to 1.
        own: that of its class.
    """

    image: str
    label: int
    top: tuple[int, ...]
    probabilities: tuple[float, ...]
    own: float


class TestParts(NamedTuple):
    """What a test says about classes and images.

    Attributes:
        names: of the C classes, by label.
        confusion: (C, C) images, rows by class and columns by predicted class.
        calibration: (15, 3) images, mean confidence and accuracy (0 to 1) of equally wide bins of confidence; no images
            if it could not be computed.
        wrong: the misclassified images, in the order of the test; none if it is not known which.
    """

    names: Sequence[str]
    confusion: "np.ndarray"
    calibration: "np.ndarray"
    wrong: Sequence[Wrong]


def path_of(run_folder: PathLike, name: str = FILE_NAME) -> str:
    """Where a file of a run's test is."""
    return os.path.join(str(run_folder), FOLDER, name)


def remove(run_folder: PathLike) -> None:
    """Remove the files of an earlier test; all else there stays."""
    for name in ALL:
        path = path_of(run_folder, name)
        if os.path.isfile(path) or is_link(path):
            os.remove(path)


def write(run_folder: PathLike, parts: TestParts) -> dict[str, str]:
    """Write the files of a test, each whole.

    Args:
        run_folder: the run's output folder.
        parts: what is written.

    Returns:
        SHA-256 (hex) by name of the file, for the result's `test_files`.
    """
    from modprompt.io.arrays import write_arrays

    write_arrays(path_of(run_folder), packed=True, **_arrays(parts))
    names = [writable(name) for name in parts.names]
    tables = {CLASSES: _classes(parts, names), CONFUSION: _confusion(parts, names), WRONG: _wrong(parts, names)}
    for name, (columns, rows) in tables.items():
        write_table(path_of(run_folder, name), columns, rows)
    return {name: sha256_of(path_of(run_folder, name)) for name in NAMES}


def _width(wrong: Sequence[Wrong]) -> int:
    return max((len(one.top) for one in wrong), default=0)


def _arrays(parts: TestParts) -> dict[str, "np.ndarray"]:
    import numpy as np

    wrong, width = parts.wrong, _width(parts.wrong)
    return {
        "names": np.array(list(parts.names), dtype=np.str_),
        "confusion": np.asarray(parts.confusion, dtype=np.int64),
        "calibration": np.asarray(parts.calibration, dtype=np.float64),
        "images": np.array([one.image for one in wrong], dtype=np.str_),
        "labels": np.array([one.label for one in wrong], dtype=np.int64),
        "top": np.array([one.top for one in wrong], dtype=np.int64).reshape(len(wrong), width),
        "probabilities": np.array([one.probabilities for one in wrong], dtype=np.float64).reshape(len(wrong), width),
        "own": np.array([one.own for one in wrong], dtype=np.float64),
    }


_Table = tuple[Sequence[str], list[list[Cell]]]  # columns and rows


def _classes(parts: TestParts, names: Sequence[str]) -> _Table:
    """A class without images has no accuracy."""
    rows: list[list[Cell]] = []
    for label, name in enumerate(names):
        images, correct = int(parts.confusion[label].sum()), int(parts.confusion[label, label])
        rows.append([label, name, images, correct, f"{100 * correct / images:.4f}" if images else None])
    return ("label", "class", "images", "correct", "accuracy_pct"), rows


def _confusion(parts: TestParts, names: Sequence[str]) -> _Table:
    """A row for each pair that was seen: a thousand classes have a million."""
    seen = zip(*(places.tolist() for places in parts.confusion.nonzero()))
    rows: list[list[Cell]] = [[names[at], names[other], int(parts.confusion[at, other])] for at, other in seen]
    return ("class", "taken_for", "images"), rows


def _wrong(parts: TestParts, names: Sequence[str]) -> _Table:
    """A row for each image: the probability of its class, and the most probable classes with theirs."""
    top = [f"{what}_{place + 1}" for place in range(_width(parts.wrong)) for what in ("class", "probability")]
    rows: list[list[Cell]] = []
    for one in parts.wrong:
        taken_for = [cell for at, share in zip(one.top, one.probabilities) for cell in (names[at], f"{share:.6f}")]
        rows.append([writable(one.image), names[one.label], f"{one.own:.6f}", *taken_for])
    return ("image", "class", "probability", *top), rows


def whole(run_folder: PathLike, result: Mapping[str, Any], name: str) -> str | None:
    """Where a file of a run's test is; None if the run has left none of this name.

    Raises:
        UserError: if it is damaged, lost, or of another test than the result.
    """
    hashes, path = result.get(KEY), path_of(run_folder, name)
    if not isinstance(hashes, dict) or name not in hashes:
        return None
    try:
        digest = sha256_of(path)
    except FileNotFoundError:
        raise UserError(f"{path} is gone, which result.json names: {_TO_DO}") from None
    if digest != hashes[name]:
        raise UserError(f"{path} is damaged, or belongs to another test than its result.json: {_TO_DO}")
    return path


def read(run_folder: PathLike, result: Mapping[str, Any]) -> TestParts | None:
    """What a run's test says about classes and images; raises as `whole`.

    Args:
        run_folder: the run's output folder.
        result: what its result.json holds.

    Returns:
        None if the run has left nothing of the kind.
    """
    path = whole(run_folder, result, FILE_NAME)
    if path is None:
        return None
    from modprompt.io.arrays import read_arrays

    arrays = dict(zip(_ARRAYS, read_arrays(path, *_ARRAYS)))
    rows = zip(*(arrays[name].tolist() for name in ("images", "labels", "top", "probabilities", "own")))
    wrong = [Wrong(image, label, tuple(top), tuple(shares), own) for image, label, top, shares, own in rows]
    return TestParts(arrays["names"].tolist(), arrays["confusion"], arrays["calibration"], wrong)
