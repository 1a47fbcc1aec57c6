"""Few-shot linear probe on saved CLIP features, as in CoOp's paper (arXiv 2109.01134, appendix).

    python -m lpclip.linear_probe --dataset OxfordPets --feature_dir clip_feat --num_step 8 --num_run 3

For 1, 2, 4, 8 and 16 shots and each seed 1..num_run: so many training images of each class (and at most 4 of
validation) are drawn, a logistic regression is fitted for C = 1e6 .. 1e-6 in steps of 100, and its best C is refined by
num_step bisections of log10 C, always towards the better of both ends on validation. Written beside the features:
linear_probe.json (all accuracies) and linear_probe.png.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from tqdm import tqdm

from modprompt.checks import at_least
from modprompt.errors import UserError
from modprompt.files import read_arrays
from modprompt.storage.text import write_json
from tools.figures import pyplot, save_figure

SHOTS = (1, 2, 4, 8, 16)
MOST_VAL_SHOTS = 4
EXPONENTS = (6, 4, 2, 0, -2, -4, -6)  # of C, in this order: of equals the first counts


class Split(NamedTuple):
    """Features (N, E) and labels (N,) of images."""

    features: np.ndarray
    labels: np.ndarray

    def few(self, shots: int, rng: np.random.RandomState, or_all: bool = False) -> Split:
        """`shots` images of each class, in the order of labels; with `or_all` fewer where a class has fewer.

        Raises:
            UserError: if a class has fewer.
        """
        chosen = []
        for label in np.unique(self.labels):
            there = np.where(self.labels == label)[0]
            if len(there) < shots and not or_all:
                raise UserError(f"class {label} has {len(there)} training images, but {shots} shots are asked for")
            chosen.extend(rng.choice(there, size=min(shots, len(there)), replace=False))
        return Split(self.features[chosen], self.labels[chosen])


class Probe:
    """Logistic regressions on a few images, by log10 of their C, each fitted once."""

    def __init__(self, train: Split, val: Split):
        self.train, self.val = train, val
        self._fitted: dict[float, LogisticRegression] = {}

    def fitted(self, exponent: float) -> LogisticRegression:
        """The regression with C = 10 ** exponent."""
        if exponent not in self._fitted:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ConvergenceWarning)  # at 1000 iterations it is what the paper has
                model = LogisticRegression(solver="lbfgs", max_iter=1000, C=10.0**exponent)
                self._fitted[exponent] = model.fit(*self.train)
        return self._fitted[exponent]

    def val_accuracy(self, exponent: float) -> float:
        """Share of validation images it gets right."""
        return float(np.mean(self.fitted(exponent).predict(self.val.features) == self.val.labels))

    def search(self, steps: int) -> float:
        """The exponent that the grid and then `steps` bisections lead to."""
        peak = max(EXPONENTS, key=self.val_accuracy)
        left, right = peak - 1.0, peak + 1.0
        for _ in range(steps):
            middle = 0.5 * (left + right)
            if self.val_accuracy(left) < self.val_accuracy(right):
                best, left = right, middle
            else:
                best, right = left, middle
        return best


def read_split(path: Path) -> Split:
    """Features that feat_extractor saved.

    Raises:
        UserError: if they are missing or damaged.
    """
    if not path.is_file():
        raise UserError(f"no features at {path}: run `python -m lpclip.feat_extractor` first; see --feature_dir")
    try:
        return Split(*read_arrays(path, "feature_list", "label_list"))
    except UserError as error:
        raise UserError(f"{error}: run `python -m lpclip.feat_extractor` again") from None


def accuracy_pct(splits: dict[str, Split], shots: int, seed: int, steps: int) -> tuple[float, float]:
    """Test accuracy in percent of one probe, and its C."""
    rng = np.random.RandomState(seed)
    train = splits["train"].few(shots, rng)
    val = splits["val"].few(min(shots, MOST_VAL_SHOTS), rng, or_all=True)
    probe = Probe(train, val)
    exponent = probe.search(steps)
    test = splits["test"]
    return float(100 * np.mean(probe.fitted(exponent).predict(test.features) == test.labels)), 10.0**exponent


def figure(rows: list[dict], dataset: str, path: Path) -> None:
    """Accuracy over shots, mean and deviation, as PNG."""
    plt = pyplot()
    fig, axes = plt.subplots(figsize=(5, 3.5), layout="constrained")
    shots = [row["shots"] for row in rows]
    axes.errorbar(
        shots, [row["mean_pct"] for row in rows], yerr=[row["std_pct"] for row in rows], marker="o", capsize=3
    )
    axes.set_xticks(shots)
    axes.set_xlabel("training images per class")
    axes.set_ylabel("accuracy (%)")
    axes.set_title(f"{dataset}: linear probe on CLIP features", fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)
    save_figure(fig, path)


def run(argv: list[str] | None = None) -> None:
    """Probe, print the table, and write it as data and as a picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--dataset", required=True, help="name of the data set, e.g. OxfordPets: a folder of --feature_dir")
    add("--feature_dir", "--feature-dir", default="clip_feat", help="folder of the features")
    add("--num_step", "--num-step", type=int, default=8, help="bisections")
    add("--num_run", "--num-run", type=int, default=10, help="seeds")
    add("--shots", type=int, nargs="+", default=SHOTS, help="training images per class")
    args = parser.parse_args(argv)
    for name in ("num_step", "num_run"):
        at_least(f"--{name}", getattr(args, name), 1)
    folder = Path(args.feature_dir) / args.dataset
    splits = {name: read_split(folder / f"{name}.npz") for name in ("train", "val", "test")}
    fewest = min(np.unique(splits["train"].labels, return_counts=True)[1])
    for shots in args.shots:
        at_least("--shots", shots, 1)
        if shots > fewest:
            raise UserError(f"--shots {shots}: a class has only {fewest} training images; leave that number out")
    rows = []
    for shots in args.shots:
        seeds = range(1, args.num_run + 1)
        runs = [
            accuracy_pct(splits, shots, seed, args.num_step) for seed in tqdm(seeds, desc=f"{shots} shots", leave=False)
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
            f"{args.dataset}, {shots:2} shots: {row['mean_pct']:.2f} +- {row['std_pct']:.2f} % (seeds 1 to {len(runs)})"
        )
        rows.append(row)
    write_json(folder / "linear_probe.json", {"dataset": args.dataset, "num_step": args.num_step, "rows": rows})
    figure(rows, args.dataset, folder / "linear_probe.png")
    print(f"Written to {folder}: linear_probe.json, linear_probe.png")


if __name__ == "__main__":
    from train import report

    sys.exit(report(run))
