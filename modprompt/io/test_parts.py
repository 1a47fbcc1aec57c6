"""What a test leaves besides its result: confusion, calibration and the wrong images, read only where a page needs it.

They are in the folder `test` of a run. result.json has a hash of each file, so that none is shown that belongs to
another test, or is damaged.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from modprompt.errors import UserError
from modprompt.io.files import PathLike, sha256_of
from modprompt.io.paths import is_link
from modprompt.io.tables import Cell, write_table
from modprompt.io.text import writable

if TYPE_CHECKING:  # reading results alone imports no NumPy
    import numpy as np

FOLDER, FILE_NAME = "test", "test.npz"
CLASSES, CONFUSION, WRONG = "classes.csv", "confusion.csv", "wrong.csv"
FEATURES = "features.npz"  # of the images, if TEST.KEEP_FEATURES asks for them (trainers/kept_features.py)
NAMES = (FILE_NAME, CLASSES, CONFUSION, WRONG)  # of what every test leaves
ALL = (*NAMES, FEATURES)
KEY = "test_files"  # of their hashes in result.json
BINS, MOST_TOP = 15, 5
_WRONG = {"images": "str", "labels": "int64", "top": "int64", "probabilities": "float64", "own": "float64"}  # arrays
_TO_DO = "test again to make it anew"


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
    """Write the files of a test, each whole; their SHA-256 (hex) by name, for the result's `test_files`."""
    import numpy as np

    from modprompt.io.arrays import write_arrays

    width = max((len(one.top) for one in parts.wrong), default=0)
    columns = zip(*parts.wrong) if parts.wrong else [()] * len(_WRONG)
    wrong = {name: np.array(values, dtype=kind) for (name, kind), values in zip(_WRONG.items(), columns)}
    wrong |= {name: wrong[name].reshape(len(parts.wrong), width) for name in ("top", "probabilities")}
    write_arrays(
        path_of(run_folder),
        packed=True,
        names=np.array(list(parts.names), dtype=np.str_),
        confusion=np.asarray(parts.confusion, dtype=np.int64),
        calibration=np.asarray(parts.calibration, dtype=np.float64),
        **wrong,
    )
    names, counts = [writable(name) for name in parts.names], parts.confusion
    totals = zip(names, counts.sum(1).tolist(), counts.diagonal().tolist())
    shares = (  # a class without images has no accuracy
        [label, name, images, right, f"{100 * right / images:.4f}" if images else None]
        for label, (name, images, right) in enumerate(totals)
    )
    write_table(path_of(run_folder, CLASSES), ("label", "class", "images", "correct", "accuracy_pct"), shares)
    seen = zip(*(places.tolist() for places in counts.nonzero()))  # a thousand classes have a million pairs
    pairs = ([names[at], names[other], int(counts[at, other])] for at, other in seen)
    write_table(path_of(run_folder, CONFUSION), ("class", "taken_for", "images"), pairs)
    top = [f"{what}_{place + 1}" for place in range(width) for what in ("class", "probability")]
    write_table(path_of(run_folder, WRONG), ("image", "class", "probability", *top), _wrong(parts, names))
    return {name: sha256_of(path_of(run_folder, name)) for name in NAMES}


def _wrong(parts: TestParts, names: Sequence[str]) -> Iterator[list[Cell]]:
    """For each image the probability of its class, and the most probable classes with theirs."""
    for one in parts.wrong:
        taken_for = [cell for at, share in zip(one.top, one.probabilities) for cell in (names[at], f"{share:.6f}")]
        yield [writable(one.image), names[one.label], f"{one.own:.6f}", *taken_for]


def whole(run_folder: PathLike, result: Mapping[str, Any], name: str) -> str | None:
    """Where a file of a run's test is; None if the run has left none of this name.

    Raises UserError if it is damaged, lost, or of another test than the result.
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
    """What a run's test says about classes and images, None if nothing; raises as `whole`."""
    path = whole(run_folder, result, FILE_NAME)
    if path is None:
        return None
    from modprompt.io.arrays import read_arrays

    names, confusion, calibration, *wrong = read_arrays(path, "names", "confusion", "calibration", *_WRONG)
    rows = zip(*(values.tolist() for values in wrong))
    found = [Wrong(image, label, tuple(top), tuple(shares), own) for image, label, top, shares, own in rows]
    return TestParts(names.tolist(), confusion, calibration, found)
