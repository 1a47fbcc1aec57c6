"""The figures of a report: each function writes a PNG and a PDF file, and returns the caption or "" (no figure)."""

from __future__ import annotations

import ast
import contextlib
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from modprompt.engine.schedule import Schedule
from modprompt.experiments.plan.experiment import BASE2NEW, CROSS, FeatureMap
from modprompt.experiments.plan.protocols import ALONE, TOGETHER
from modprompt.experiments.reporting import cost
from modprompt.experiments.reporting.compare import LEVEL, column_of, interval
from modprompt.experiments.reporting.notes import shots_text
from modprompt.experiments.reporting.recorded import StoredTests, read_features, read_losses
from modprompt.experiments.reporting.runs import Runs
from modprompt.experiments.reporting.tables import (
    ACCURACY,
    AUROC,
    Means,
    Summary,
    most_shots,
    ood_means,
    unknown_classes,
)
from modprompt.io.figures import WIDTH, Look, look, panels, short_name

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Looks = Mapping[str, Look]  # the colour and marker of each method
MOST_PANELS = 36
WHISKERS = "whiskers show the population standard deviation over seeds"
_WHISKERS = f"{WHISKERS.capitalize()}."
_ZERO_SHOT = {"color": "#767676", "marker": "o"}
# the largest numbers of methods that can be read: in rows, in rows of many panels, as curves, and as curves of losses
_MOST_ROWS, _MOST_OF_PANELS, _MOST_CURVES, _MOST_LOSSES = 40, 12, 8, 4
_MOST_CLASSES, _MOST_NUMBERS = 20, 12  # classes of a confusion matrix, and of one with numbers
_MOST_POINTS = 5000  # images of a t-SNE, whose time grows with the square of the number
_CARRIED, _NEW = "#56b4e9", "#e69f00"  # light colours, on which numbers can be read
_HOW = (
    "Large markers show the means of the tables, small dots show single seeds, horizontal lines show the "
    f"{LEVEL}% confidence interval over seeds (Student's t, n - 1 degrees of freedom), and the dashed vertical line "
    "shows zero-shot CLIP."
)


def looks_of(parts: Sequence[Runs]) -> dict[str, Look]:
    """Return the colour and marker of each method in all figures of a page; zero-shot CLIP is grey."""
    grey = {runs.zero_shot() for runs in parts} - {""}
    labels = [runs.highlighted() for runs in parts] + [label for runs in parts for label in runs.methods["label"]]
    coloured = [label for label in dict.fromkeys(labels) if label and label not in grey]
    return {**{label: look(number) for number, label in enumerate(coloured)}, **dict.fromkeys(grey, _ZERO_SHOT)}


def selected_methods(summary: Summary, most: int) -> list[str]:
    """Return at most so many methods: the highlighted one, zero-shot CLIP, and the best of the others."""
    runs, _, tables = summary
    labels, means = summary.labels, tables[-1].measured()[tables[-1].deciding]
    best = sorted(labels, key=lambda label: -means[label] if means.get(label, np.nan) >= 0 else 1.0)
    kept = [label for label in dict.fromkeys([runs.highlighted(), runs.zero_shot(), *best]) if label in labels][:most]
    return [label for label in labels if label in kept]


def _left_out(summary: Summary, shown: Sequence[str]) -> str:
    """Return a sentence if a figure does not show all methods."""
    if len(shown) == len(summary.labels):
        return ""
    table = summary.tables[-1]
    return (
        f" The figure shows {len(shown)} of {len(summary.labels)} methods, those with the best {table.measure} "
        f"({table.where})."
    )


def panels_left_out(shown: int, total: int) -> str:
    """Return a sentence if a figure does not show all panels."""
    return f" The figure shows the first {shown} of {total} panels." if shown < total else ""


# ---------------------------------------------------------------------- accuracies and costs


def methods(summary: Summary, looks: Looks, path: Path) -> str:
    """Draw the results of all methods, with a panel for base, new and H, or for the source and the average."""
    table, across = summary.tables[-1], summary.runs.experiment.protocol in CROSS
    columns = table.columns
    if across:
        columns = (columns[0], *(columns[-1:] if len(columns) > 3 else columns[1:2]))
    places = {name: (name, ACCURACY) if across else (table.place, name) for name in columns}
    start = f"Accuracy of each method ({'source and target data sets' if across else table.title})."
    return _draw_dots(summary, summary.means, looks, places, selected_methods(summary, _MOST_ROWS), start, path)


def datasets(summary: Summary, looks: Looks, path: Path) -> str:
    """Draw the results of all methods in the deciding column, with a panel for each of several data sets."""
    table, across = summary.tables[-1], summary.runs.experiment.protocol in CROSS
    names = summary.runs.datasets[across:]
    if len(names) < 2:
        return ""
    places = {name: (name, ACCURACY if across else table.deciding) for name in names[:MOST_PANELS]}
    start = f"{'H' if table.deciding == 'H' else 'Accuracy'} on each data set. Each panel has its own axis."
    return _draw_dots(summary, summary.means, looks, places, selected_methods(summary, _MOST_OF_PANELS), start, path)


def ood_detection(summary: Summary, looks: Looks, path: Path) -> str:
    """Draw the AUROC of OOD detection, with a panel for each score; "" if no run was tested on unknown classes."""
    means, table = ood_means(summary.runs), summary.tables[-1]
    if means is None:
        return ""
    places = {column: (table.place, column) for column in AUROC}
    start = f"Detection of unknown classes ({unknown_classes(summary.runs)}), {table.title}."
    return _draw_dots(summary, means, looks, places, selected_methods(summary, _MOST_ROWS), start, path, "AUROC (%)")


def _draw_dots(
    summary: Summary,
    means: Means,
    looks: Looks,
    places: Mapping[str, tuple[str, str]],
    labels: Sequence[str],
    start: str,
    path: Path,
    axis: str = "accuracy (%)",
) -> str:
    """Draw a row for each method in a panel for each place, and return the caption."""
    columns = {
        title: means.mean[place].reindex(labels).dropna() for title, place in places.items() if place in means.mean
    }
    columns = {title: numbers for title, numbers in columns.items() if len(numbers)}
    if not columns:
        return ""
    rows = [label for label in labels if any(label in numbers for numbers in columns.values())]
    zero_shot = summary.runs.zero_shot()
    with panels(path, list(columns), high=0.5 + 0.26 * len(rows), legend=False, sharey=True) as grid:
        for axes, (title, numbers) in zip(grid, columns.items()):
            for row, label in enumerate(rows):
                if label in numbers:
                    of_seeds = list(means.of_seeds(label, places[title]).values())
                    _draw_method(axes, row, numbers[label], of_seeds, looks[label])
            if zero_shot in numbers:
                axes.axvline(numbers[zero_shot], color=_ZERO_SHOT["color"], ls="--", lw=1, zorder=1)
            axes.set(ylim=(len(rows) - 0.4, -0.6))
            _name_rows(axes, rows, summary.runs.highlighted())
            axes.locator_params(axis="x", nbins=4)
            axes.grid(visible=False, axis="y")
        grid[0].figure.supxlabel(axis)
    return f"{start} {_HOW}{_left_out(summary, labels)}"


def _name_rows(axes: Axes, labels: Sequence[str], bold: str) -> None:
    axes.set_yticks(range(len(labels)), list(map(short_name, labels)))
    for text, label in zip(axes.get_yticklabels(), labels):
        text.set_fontweight("bold" if label == bold else "normal")


def _draw_method(axes: Axes, row: int, mean: float, of_seeds: Sequence[float], look: Look) -> None:
    if len(of_seeds) > 1:
        rows = [row + 0.24] * len(of_seeds)
        axes.plot(of_seeds, rows, "o", color=look["color"], ms=3.5, mew=0, alpha=0.6, gid="seeds")
        axes.plot(interval(of_seeds) or (), [row, row], color=look["color"], gid="interval")
    axes.plot([mean], [row], **look, ls="none", mec="white", mew=0.5, gid="mean", zorder=3)


def shots(summary: Summary, looks: Looks, path: Path) -> str:
    """Draw the accuracy over the number of shots, with a panel for each data set and the average."""
    runs, means, tables = summary
    numbers = [column for column in runs.columns if column.isdigit() and column != "0"]
    shown = selected_methods(summary, _MOST_CURVES)
    if len(numbers) < 2 or not shown:
        return ""
    with panels(path, [table.place for table in tables]) as grid:
        for axes, table in zip(grid, tables):
            for label in shown:
                places = {float(number): (table.place, column_of(runs, label, number)) for number in numbers}
                cells = {x: (means.mean.at[label, place], means.std.at[label, place]) for x, place in places.items()}
                _draw_points(axes, runs, looks, label, {x: cell for x, cell in cells.items() if cell[0] >= 0}, "-")
            axes.set_xscale("log", base=2)
            axes.set_xticks(list(map(int, numbers)), numbers)
            axes.minorticks_off()
        grid[0].figure.supxlabel("training images per class")
        grid[0].figure.supylabel("accuracy (%)")
    return f"Accuracy over the number of training images per class. {_WHISKERS}{_left_out(summary, shown)}"


def _draw_points(
    axes: Axes, runs: Runs, looks: Looks, label: str, cells: Mapping[float, tuple[float, float]], style: str
) -> None:
    """Draw means with standard deviations, or a horizontal line for a method without training."""
    name = short_name(label)
    if cells and runs.methods.at[label, "trains"]:
        means, stds = np.nan_to_num(np.array(list(cells.values()))).T
        axes.errorbar(list(cells), means, yerr=stds, **looks[label], ls=style, label=name)
    elif cells:
        axes.axhline(next(iter(cells.values()))[0], color=looks[label]["color"], ls="--", label=name)


def costs(summary: Summary, frame: pd.DataFrame, looks: Looks, path: Path) -> str:
    """Draw the accuracy over the training time and over the number of trained parameters; `frame` is of cost.costs."""
    runs, _, tables = summary
    shown = selected_methods(summary, _MOST_OF_PANELS)
    frame = frame[frame.index.isin(shown) & frame["accuracy_mean"].notna()]
    names = {"training time (s)": "training_s_mean", "trained parameters": "parameters_most"}
    if not any((frame[name] > 0).sum() > 1 for name in names.values()):
        return ""
    with panels(path, ["", ""], high=3.2, sharey=True) as grid:
        for axes, (title, name) in zip(grid, names.items()):
            for label, row in frame.iterrows():
                if row[name] > 0 or not runs.methods.at[label, "trains"]:
                    cell = (row["accuracy_mean"], row["accuracy_std"])
                    _draw_points(axes, runs, looks, str(label), {float(np.nan_to_num(row[name])): cell}, "none")
            axes.set_xlabel(title)
            positive = frame[name][frame[name] > 0]
            if len(positive) and positive.max() >= 10 * positive.min():
                axes.set_xscale("log")
            else:
                axes.locator_params(axis="x", nbins=5)
        grid[0].set_ylabel(f"{tables[-1].measure} (%)")
    return (
        f"{cost.accuracy_name(tables)}, over the training time in seconds (left) and over the number of trained "
        f"parameters (right). {_WHISKERS} A dashed line shows a method without training (zero-shot CLIP)."
        f"{_left_out(summary, shown)}"
    )


# ---------------------------------------------------------------------- prompt tokens

Layers = tuple[tuple[int, int], ...]  # for each layer the numbers of carried and of new tokens
# the errors of a schedule that was edited by hand; the last two occur if it is nested too deeply
_EDITED = (AttributeError, KeyError, TypeError, ValueError, SyntaxError, RecursionError, MemoryError)


def token_counts(runs: Runs) -> dict[str, list[dict[str, Layers]]]:
    """Return the numbers of prompt tokens by method and encoder, of each schedule that the runs of the method used."""
    counts: dict[str, list[dict[str, Layers]]] = {}
    for run in runs.frame.itertuples():
        schedules: Any = (run.result or {}).get("schedules")
        with contextlib.suppress(*_EDITED):
            sides = {side: _layers(Schedule(ast.literal_eval(schedules[side]), side)) for side in ("text", "vision")}
            if all(sides.values()) and sides not in counts.setdefault(run.method, []):
                counts[run.method].append(sides)
    return {label: schedules for label, schedules in counts.items() if schedules}


def _layers(schedule: Schedule) -> Layers:
    return tuple((count - step.add, step.add) for count, step in zip(schedule.counts, schedule))


def tokens(summary: Summary, path: Path) -> str:
    """Draw the numbers of prompt tokens: a row for each method, a column for each layer, a panel for each encoder."""
    counts = token_counts(summary.runs)
    shown = [label for label in selected_methods(summary, _MOST_ROWS) if label in counts] or list(counts)[:_MOST_ROWS]
    sides = {
        side: {label: counts[label][0][side] for label in shown if any(map(sum, counts[label][0][side]))}
        for side in ("text", "vision")
    }
    sides = {side: rows for side, rows in sides.items() if rows}
    if not sides:
        return ""
    high = 0.6 + 0.27 * max(map(len, sides.values()))
    with panels(path, [f"{side} layer (from 0)" for side in sides], 1, high=high) as grid:
        grid[0].figure.set_figwidth(WIDTH)  # type: ignore[union-attr]
        for axes, rows in zip(grid, sides.values()):
            _draw_tokens(axes, rows, summary.runs.highlighted())
    several = [f"{label} ({len(counts[label])})" for label in shown if len(counts[label]) > 1]
    note = (
        " The runs of some methods used several schedules (number in parentheses), and the figure shows the first: "
        f"{', '.join(several)}."
    )
    return (
        "Number of prompt tokens that enter each layer. 4+2 means four tokens carried over from the previous layer and "
        "two new tokens, 4 means carried tokens only, and +2 means new tokens only. Tokens that are not carried over "
        f"are removed.{note if several else ''}"
    )


def _draw_tokens(axes: Axes, rows: Mapping[str, Layers], bold: str) -> None:
    layers = max(map(len, rows.values()))
    for number, counts in enumerate(rows.values()):
        for layer, (carried, new) in enumerate(counts):
            share = 0.92 * carried / (carried + new) if carried + new else 0.0
            axes.barh(number, share, 0.84, left=layer - 0.46, color=_CARRIED)
            axes.barh(number, 0.92 - share if new else 0.0, 0.84, left=layer - 0.46 + share, color=_NEW)
            text = f"{carried}+{new}" if carried and new else f"+{new}" if new else str(carried)
            axes.text(layer, number, text, ha="center", va="center", fontsize=9 if layers <= 12 else 8.5)
    for name, colour in (("carried", _CARRIED), ("new", _NEW)):
        axes.bar([0], [0], color=colour, label=name)
    axes.set(xlim=(-0.5, layers - 0.5), ylim=(len(rows) - 0.5, -0.5))
    axes.set_xticks(range(layers))
    _name_rows(axes, list(rows), bold)
    axes.grid(visible=False)
    axes.tick_params(length=0)
    axes.spines[:].set(visible=False)


# ---------------------------------------------------------------------- trainings and tests


def columns_of_tests(runs: Runs) -> list[str]:
    """Return the columns whose tests are shown: the largest number of shots, and a joint test of all classes once."""
    if runs.experiment.protocol == "few_shot":
        return [most_shots(runs.columns) or runs.columns[-1]]
    return [column for column in runs.columns if column != TOGETHER[ALONE[1]]]  # one test fills both joint columns


def stored_rows(runs: Runs, label: str, dataset: str, column: str) -> pd.DataFrame | None:
    """Return the rows of all seeds of a test, or None unless all have finished and have files."""
    own = column_of(runs, label, column)
    rows = runs.complete(label, dataset, own) if runs.has_column(label, own) else None
    return rows if rows is not None and rows["result"].astype(bool).all() and rows["folder"].notna().all() else None


def _panel_title(dataset: str, column: str) -> str:
    if column == ACCURACY:
        return dataset
    return f"{dataset}, {shots_text(column) if column.isdigit() else column}"


def losses(summary: Summary, looks: Looks, problems: list[str], path: Path) -> str:
    """Draw the mean training loss of each epoch, with a panel for each data set."""
    runs, found = summary.runs, dict[str, dict[str, Any]]()
    shown = selected_methods(summary, _MOST_LOSSES + 1)
    shown = [label for label in shown if runs.methods.at[label, "trains"]][:_MOST_LOSSES]
    column = ALONE[0] if runs.experiment.protocol == BASE2NEW else columns_of_tests(runs)[0]
    for dataset in runs.datasets[:1] if runs.experiment.protocol in CROSS else runs.datasets:
        rows = {label: stored_rows(runs, label, dataset, column) for label in shown}
        curves = {label: read_losses(own, problems) for label, own in rows.items() if own is not None}
        known = {label: curve for label, curve in curves.items() if curve is not None}
        if known:
            found[_panel_title(dataset, column)] = known
    drawn = dict(list(found.items())[:MOST_PANELS])
    if not drawn:
        return ""
    with panels(path, list(drawn)) as grid:
        for axes, known in zip(grid, drawn.values()):
            for label, curve in known.items():
                mean, std, epochs = curve.mean(axis=0), curve.std(axis=0), range(1, curve.shape[1] + 1)
                colour = looks[label]["color"]
                axes.plot(epochs, mean, color=colour, label=short_name(label))
                if len(curve) > 1:
                    axes.fill_between(epochs, mean - std, mean + std, color=colour, alpha=0.2, lw=0)
            axes.locator_params(axis="x", integer=True)
        grid[0].figure.supxlabel("epoch")
        grid[0].figure.supylabel("training loss")
    return (
        "Mean training loss of each epoch, averaged over seeds. Bands show the standard deviation over seeds. Each "
        "method has its own loss function, so loss values of different methods cannot be compared."
        f"{panels_left_out(len(drawn), len(found))}"
    )


def confusions(label: str, dataset: str, tests: Mapping[str, StoredTests], path: Path) -> str:
    """Draw the confusion matrices of a method in percent of the images of a class, with a panel for each test.

    Of more than 20 classes, only the 20 classes with the most errors are drawn.

    Args:
        label: the method.
        dataset: the data set.
        tests: what the tests stored, by half of the classes or number of shots.
        path: the path of the PNG file.
    """
    shown: list[str] = []
    classes = min(_MOST_CLASSES, max(len(test.names) for test in tests.values()))
    titles, high = [_panel_title(dataset, half) for half in tests], max(2.9, 1.2 + 0.13 * classes)
    with panels(path, titles, high=high, legend=False) as grid:
        for axes, (half, test) in zip(grid, tests.items()):
            errors = test.confusion - np.diag(np.diagonal(test.confusion))
            most = np.argsort(-(errors.sum(axis=0) + errors.sum(axis=1)), kind="stable")[:_MOST_CLASSES]
            shown += [f"{len(most)} of {len(test.names)} ({half})"] if len(most) < len(test.names) else []
            _draw_confusion(axes, test, sorted(most.tolist()))
        grid[0].figure.supxlabel("predicted class (% of the images of the true class)")
        grid[0].figure.supylabel("true class")
    selection = f" Only the classes with the most errors are shown: {', '.join(shown)}." if shown else ""
    return (
        f"Confusion matrices of {label} on {dataset} in percent, summed over all seeds. Each row is a true class, and "
        f"each column is a predicted class.{selection}"
    )


def _draw_confusion(axes: Axes, test: StoredTests, classes: Sequence[int]) -> None:
    images = np.maximum(test.confusion.sum(axis=1), 1)[:, None]
    shares = (100 * test.confusion / images)[np.ix_(classes, classes)]
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=100)
    for (row, column), share in np.ndenumerate(shares):
        if len(classes) <= _MOST_NUMBERS and round(share):
            colour = "w" if share > 60 else "0.1"
            axes.text(column, row, f"{share:.0f}", ha="center", va="center", fontsize=8.5, color=colour)
    names = [short_name(test.names[number], 18) for number in classes]
    axes.set_xticks(range(len(classes)), names, fontsize=8.5, rotation=90)
    axes.set_yticks(range(len(classes)), names, fontsize=8.5)
    axes.grid(visible=False)


# ---------------------------------------------------------------------- image features


def feature_map(summary: Summary, shown: FeatureMap, problems: list[str], path: Path) -> str:
    """Draw the image features of one test of a method in two dimensions, with a panel for each half of the classes.

    A finished run without stored features is named in `problems`.
    """
    runs, features = summary.runs, dict[str, dict[str, np.ndarray]]()
    for column in columns_of_tests(runs):
        if column in TOGETHER.values() or shown.method not in runs.methods.index:
            continue
        rows = runs.select(shown.method, shown.dataset, column_of(runs, shown.method, column))
        for run in rows[rows["seed"] == shown.seed].itertuples():
            arrays = read_features(run, problems)
            if arrays is not None:
                features[_panel_title(shown.dataset, column)] = arrays
    if not features:
        return ""
    with panels(path, list(features), high=3.6) as grid:
        names = list(dict.fromkeys(name for arrays in features.values() for name in arrays["names"].tolist()))
        counts = [
            _draw_features(axes, arrays, names, shown.projection) for axes, arrays in zip(grid, features.values())
        ]
    projection = "PCA" if shown.projection == "pca" else "t-SNE (scikit-learn, random_state 0)"
    return (
        f"Image features of {shown.method} on the test images of {shown.dataset} (seed {shown.seed}), projected onto "
        f"two dimensions with {projection}. Each point is an image, the colours show the true classes, and crosses "
        f"mark images that were classified wrongly. The figure shows {' and '.join(counts)}."
    )


def _draw_features(axes: Axes, arrays: Mapping[str, np.ndarray], names: Sequence[str], projection: str) -> str:
    """Draw the projected features of a test (N, E), coloured by class, and return how many images the panel shows.

    `names` are the classes of all panels, so that a class has the same colour in all panels.
    """
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    features, labels, predicted = (arrays[name] for name in ("features", "labels", "predicted"))
    count = f"{len(features):,} images"
    if projection == "tsne" and len(features) > _MOST_POINTS:
        kept = np.sort(np.random.default_rng(0).permutation(len(features))[:_MOST_POINTS])
        count = f"{_MOST_POINTS:,} of {count}"
        features, labels, predicted = features[kept], labels[kept], predicted[kept]
    if projection == "pca":
        pca = PCA(n_components=2, svd_solver="full").fit(features)
        points = pca.transform(features)
        count += f" ({100 * pca.explained_variance_ratio_.sum():.0f}% of the variance)"
    else:
        perplexity = min(30.0, max(1.0, (len(features) - 1) / 3))
        points = TSNE(n_components=2, random_state=0, init="pca", perplexity=perplexity).fit_transform(features)
    is_few = len(names) <= _MOST_CLASSES
    colours = import_module("matplotlib").colormaps["tab20" if is_few else "hsv"]
    numbers = np.array([names.index(name) for name in arrays["names"].tolist()])
    numbers = numbers if is_few else numbers / len(names)
    axes.scatter(points[:, 0], points[:, 1], s=9.0, c=colours(numbers[labels]), linewidths=0)
    for name, number in zip(arrays["names"].tolist(), numbers) if is_few else ():
        axes.scatter([], [], s=9.0, color=colours(number), label=short_name(name, 18))
    x, y = points[labels != predicted].T
    axes.scatter(x, y, s=14, marker="x", color="black", linewidths=0.7, label="classified wrongly")
    axes.set(xticks=[], yticks=[])
    axes.grid(visible=False)
    return count
