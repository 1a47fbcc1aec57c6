"""Train a few-shot linear probe on saved CLIP features, as in CoOp's paper (arXiv 2109.01134, appendix).

    python -m lpclip.linear_probe --dataset OxfordPets --feature_dir clip_feat --num_step 8 --num_run 3

The program runs each number of shots (1, 2, 4, 8 and 16) with each seed from 1 to num_run. It draws this number of
training images per class, and at most 4 validation images per class. It fits a logistic regression for each C from 1e6
to 1e-6 in factors of 100. Then it refines the best C with num_step bisections of log10 C, each towards the end with the
better validation accuracy. The files linear_probe.json (all accuracies) and linear_probe.png are written into the
folder of the features. If the data set has no validation images, C is selected on held-out training images, or on test
images with --val-from-test, as in CoOp's code.
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from tqdm import tqdm

from modprompt.checks import at_least, nearest
from modprompt.data.fewshot import hold_out
from modprompt.errors import UserError
from modprompt.io.arrays import arrays_hash, read_arrays
from modprompt.io.files import part_of, write_json
from modprompt.io.result import HELD_OUT, TEST, VALIDATION
from modprompt.programs import Parser, report

SHOTS = (1, 2, 4, 8, 16)
MOST_VAL_SHOTS = 4
_MOST_LABEL = 1 << 31  # no data set has so many classes, and scikit-learn cannot count further
_SAYS = {HELD_OUT: "held-out training images", TEST: "test images"}
EXPONENTS = (6, 4, 2, 0, -2, -4, -6)  # of C, in this order: the first of equally good ones wins


class Place(NamedTuple):
    """An image of a split, identified by its index, not by a path."""

    impath: str
    label: int


class Split(NamedTuple):
    """Features (N, E) and labels (N,) of images."""

    features: np.ndarray
    labels: np.ndarray

    def draw(self, shots: int, rng: np.random.RandomState, or_all: bool = False) -> list[int]:
        """Indices of `shots` images of each class, in the order of labels; with `or_all` fewer if a class has fewer.

        Raises:
            UserError: if a class has fewer.
        """
        chosen: list[int] = []
        for label in np.unique(self.labels):
            there = np.where(self.labels == label)[0]
            if len(there) < shots and not or_all:
                raise UserError(
                    f"Class {label} has only {len(there)} training image{'' if len(there) == 1 else 's'}, but {shots} "
                    "shots were requested. Use fewer --shots."
                )
            chosen.extend(rng.choice(there, size=min(shots, len(there)), replace=False))
        return chosen

    def at(self, places: list[int]) -> Split:
        """The images at these indices."""
        return Split(self.features[places], self.labels[places])

    def few(self, shots: int, rng: np.random.RandomState, or_all: bool = False) -> Split:
        """The images that `draw` chooses."""
        return self.at(self.draw(shots, rng, or_all))

    def held_out(self, taken: list[int], number: int, seed: int) -> Split:
        """Up to `number` images of each class that were not drawn, by a generator of their own.

        Raises:
            UserError: if all were drawn.
        """
        places = [Place(str(place), int(label)) for place, label in enumerate(self.labels)]
        found = hold_out(places, [places[place] for place in taken], number, seed)
        if not found:
            raise UserError(
                "All training images are used for training, so no training images are left to select C on. "
                "Use fewer --shots."
            )
        return self.at([int(place.impath) for place in found])


class Probe:
    """Logistic regressions on a few images, by log10 of their C, each fitted once."""

    def __init__(self, train: Split, val: Split):
        self.train, self.val = train, val
        self._fitted: dict[float, LogisticRegression] = {}

    def fitted(self, exponent: float) -> LogisticRegression:
        """The regression with C = 10 ** exponent."""
        if exponent not in self._fitted:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ConvergenceWarning)  # the paper stops at 1000 iterations, too
                model = LogisticRegression(solver="lbfgs", max_iter=1000, C=10.0**exponent)
                self._fitted[exponent] = model.fit(*self.train)
        return self._fitted[exponent]

    def val_accuracy(self, exponent: float) -> float:
        """Share of validation images that it classifies correctly."""
        return float(np.mean(self.fitted(exponent).predict(self.val.features) == self.val.labels))

    def search(self, steps: int) -> float:
        """The exponent found by the grid and then `steps` bisections."""
        peak = max(EXPONENTS, key=self.val_accuracy)
        left, right = peak - 1.0, peak + 1.0
        for _ in range(steps):
            middle = 0.5 * (left + right)
            if self.val_accuracy(left) < self.val_accuracy(right):
                best, left = right, middle
            else:
                best, right = left, middle
        return best


def _are_features(array: np.ndarray) -> bool:
    """Whether an array has rows of finite floats of at most 64 bits."""
    is_real = array.dtype.kind == "f" and array.dtype.itemsize <= 8
    return is_real and array.ndim == 2 and array.size > 0 and bool(np.isfinite(array).all())


def _are_labels(array: np.ndarray) -> bool:
    """Whether an array has class numbers, perhaps as floats."""
    if array.dtype.kind not in "iuf" or not ((array >= 0) & (array < _MOST_LABEL)).all():
        return False
    return bool((array == np.floor(array)).all())


def read_split(path: Path) -> Split:
    """Features that feat_extractor saved.

    Raises:
        UserError: if they are missing or damaged.
    """
    again = "Run `python -m lpclip.feat_extractor` again."
    if not path.is_file():
        sets = sorted(one.parent.name for one in path.parent.parent.glob("*/train.npz"))
        near = nearest(path.parent.name, [name for name in sets if name != path.parent.name])
        raise UserError(
            f"The feature file {path} does not exist{near or '.'} Run `python -m lpclip.feat_extractor` first, or "
            "give the folder of the features with --feature_dir."
        )
    try:
        features, labels = read_arrays(path, "feature_list", "label_list").values()
    except UserError as error:
        raise UserError(f"{str(error).rstrip('.')}. {again}") from None
    if not (_are_features(features) and _are_labels(labels) and labels.shape == features.shape[:1]):
        raise UserError(
            f"{path} is damaged: the file must contain N x E finite real features and N labels, which are integers "
            f"from 0. {again}"
        )
    try:
        own, made_of, seal = read_arrays(path, "own_validation", "made_of", "seal").values()
    except UserError:
        print(f"note: {path} contains no hash, so its content cannot be verified (CoOp's extractor writes no hash).")
        return Split(features, labels)
    if str(seal) != arrays_hash(path.stem, features, labels, own, made_of):
        raise UserError(f"{path} is damaged: the hash in the file does not match its content. {again}")
    return Split(features, labels)


def _has_own_validation(folder: Path) -> bool:
    try:
        (said,) = read_arrays(folder / "train.npz", "own_validation").values()
    except UserError:
        return True  # CoOp's own extractor does not say it
    return said.size != 1 or bool(said.item())


def _made_of(path: Path) -> str:
    try:
        return str(read_arrays(path, "made_of")["made_of"])
    except (UserError, FileNotFoundError):
        return ""  # the same; or test images serve as validation


def read_splits(folder: Path, val_from_test: bool) -> dict[str, Split]:
    """Splits by name; "val" is missing if only test images could serve as it and were not asked for.

    Raises:
        UserError: as read_split.
    """
    splits = {name: read_split(folder / f"{name}.npz") for name in ("train", "test")}
    if (folder / "val.npz").is_file() or _has_own_validation(folder):
        splits["val"] = read_split(folder / "val.npz")
    elif val_from_test:
        splits["val"] = splits["test"]
    if selected_on(splits) == TEST and not val_from_test:
        del splits["val"]
    made_of = {_made_of(folder / f"{name}.npz") for name in splits} - {""}
    if len(made_of) > 1 or len({split.features.shape[1] for split in splits.values()}) > 1:
        raise UserError(
            f"The feature files in {folder} were made with different CLIPs, splits, classes or image preprocessing. "
            "Run `python -m lpclip.feat_extractor` again without --split."
        )
    return splits


def selected_on(splits: dict[str, Split]) -> str:
    """The images by which C is chosen."""
    if "val" not in splits:
        return HELD_OUT
    return TEST if np.array_equal(splits["val"].features, splits["test"].features) else VALIDATION


def accuracy_pct(splits: dict[str, Split], shots: int, seed: int, steps: int) -> tuple[float, float]:
    """A probe's test accuracy in percent, and its C."""
    rng = np.random.RandomState(seed)
    drawn, n_val = splits["train"].draw(shots, rng), min(shots, MOST_VAL_SHOTS)
    if "val" in splits:
        val = splits["val"].few(n_val, rng, or_all=True)
    else:
        val = splits["train"].held_out(drawn, n_val, seed)
    probe = Probe(splits["train"].at(drawn), val)
    exponent = probe.search(steps)
    test = splits["test"]
    return float(100 * np.mean(probe.fitted(exponent).predict(test.features) == test.labels)), 10.0**exponent


def figure(rows: list[dict[str, Any]], dataset: str, path: Path) -> None:
    """Accuracy over shots, mean and deviation, as PNG."""
    from matplotlib.figure import Figure  # late: it takes long

    fig = Figure(figsize=(5, 3.5), layout="constrained")
    axes = fig.subplots()
    shots = [row["shots"] for row in rows]
    axes.errorbar(
        shots, [row["mean_pct"] for row in rows], yerr=[row["std_pct"] for row in rows], marker="o", capsize=3
    )
    axes.set_xticks(shots)
    axes.set_xlabel("training images per class")
    axes.set_ylabel("accuracy (%)")
    axes.set_title(f"{dataset}: linear probe on CLIP features", fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)
    with part_of(path) as file:
        fig.savefig(file, dpi=150, format="png")


def run(argv: list[str] | None = None) -> None:
    """Probe, print the table, and write it as data and as a figure."""
    parser = Parser(__doc__)
    add = parser.add_argument
    add("--dataset", required=True, help="name of the data set, e.g. OxfordPets (a folder in --feature_dir)")
    add("--feature_dir", "--feature-dir", default="clip_feat", help="folder of the feature files (default: clip_feat)")
    add("--num_step", "--num-step", type=int, default=8, help="number of bisections (default: 8)")
    add("--num_run", "--num-run", type=int, default=10, help="number of seeds (default: 10)")
    add("--shots", type=int, nargs="+", default=SHOTS, help="training images per class (default: 1 2 4 8 16)")
    add("--val-from-test", action="store_true", help="select C on test images if the data set has no validation images")
    args = parser.parse_args(argv)
    for name in ("num_step", "num_run"):
        at_least(f"--{name}", getattr(args, name), 1)
    folder = Path(args.feature_dir) / args.dataset
    splits = read_splits(folder, args.val_from_test)
    chosen_on = selected_on(splits)
    if chosen_on != VALIDATION:
        print(f"note: {args.dataset} has no validation images, so C is selected on {_SAYS[chosen_on]}.")
    fewest = min(np.unique(splits["train"].labels, return_counts=True)[1])
    for shots in args.shots:
        at_least("--shots", shots, 1)
        if shots > fewest:
            raise UserError(
                f"--shots {shots} is too large, because a class has only {fewest} training "
                f"image{'' if fewest == 1 else 's'}. Remove {shots} from --shots."
            )
    rows = []
    for shots in args.shots:
        seeds = range(1, args.num_run + 1)
        runs = [
            accuracy_pct(splits, shots, seed, args.num_step)
            for seed in tqdm(seeds, desc=f"{shots} shots", leave=False, disable=None)
        ]
        accuracies = [accuracy for accuracy, _ in runs]
        row = {
            "shots": shots,
            "mean_pct": float(np.mean(accuracies)),
            "std_pct": float(np.std(accuracies)),
            "accuracies_pct": accuracies,
            "c": [c for _, c in runs],
        }
        print(
            f"{args.dataset}, {shots:2} shots: accuracy {row['mean_pct']:.2f} +- {row['std_pct']:.2f} % "
            f"(seeds 1 to {len(runs)})"
        )
        rows.append(row)
    facts = {"dataset": args.dataset, "num_step": args.num_step, "selected_on": chosen_on, "rows": rows}
    write_json(folder / "linear_probe.json", facts)
    figure(rows, args.dataset, folder / "linear_probe.png")
    print(f"Wrote linear_probe.json and linear_probe.png into {folder}")


if __name__ == "__main__":
    sys.exit(report(run))
