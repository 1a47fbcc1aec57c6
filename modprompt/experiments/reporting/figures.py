"""The figures of a report: each is a function that writes a PNG and a PDF and returns its caption, "" for no figure."""

from __future__ import annotations

import ast
import contextlib
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from modprompt.engine.schedule import Schedule
from modprompt.experiments.plan.experiment import BASE2NEW, CROSS, Experiment, FeatureMap
from modprompt.experiments.plan.protocols import ALONE, TOGETHER
from modprompt.experiments.reporting import cost, unknown
from modprompt.experiments.reporting.compare import LEVEL, interval, own_column
from modprompt.experiments.reporting.recorded import Recorded, losses, stored_features
from modprompt.experiments.reporting.results import Line, Outcome, Results
from modprompt.experiments.reporting.tables import ACCURACY, Cell, Numbers, Section, most_shots, shots_in_words
from modprompt.io.figures import WIDTH, Look, look, panels, short_name

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_PANELS = 36
WHISKERS = "whiskers show the population standard deviation over seeds"
_WHISKERS = f"{WHISKERS.capitalize()}."
_ZERO_SHOT = {"color": "#767676", "marker": "o"}
_MOST_ROWS, _MOST_OF_PANELS, _MOST_CURVES, _MOST_CLOSE = 40, 12, 8, 4  # methods of a figure, as they can be read
_MOST_CLASSES, _MOST_NUMBERS = 20, 12  # of a confusion: classes, and classes whose shares are written
_CARRIED, _NEW = "#56b4e9", "#e69f00"  # light: numbers are read on them


class Measured(NamedTuple):
    """An experiment, its results, their means, its tables (the last one decides), and how its methods look."""

    experiment: Experiment
    results: Results
    numbers: Numbers
    sections: Sequence[Section]
    looks: Mapping[str, Look]

    @property
    def labels(self) -> list[str]:
        """Methods that have a number anywhere, in the order of the tables."""
        rows = [row for section in self.sections for row in section.rows if not row.source]
        return list(dict.fromkeys(row.label for row in rows if any(row.cells)))

    @property
    def mine(self) -> str:
        """The method that the report is about, if it has a number; else ""."""
        return next((one for one in self.labels if one == highlighted(self.experiment, self.results)), "")

    @property
    def zero_shot(self) -> str:
        """Zero-shot CLIP, if it has a number; else ""."""
        return next((one for one in self.labels if one == untrained(self.results)), "")

    def closest(self, most: int) -> list[str]:
        """So many methods, in the order of the tables: the report's own, zero-shot CLIP, and the best of the others."""
        section, kept = self.sections[-1], [one for one in (self.mine, self.zero_shot) if one]
        at, cells = section.columns.index(section.deciding), section.measured()
        merit = {label: cells[label][at] for label in self.labels if label in cells}
        best = sorted(self.labels, key=lambda one: -(found.mean if (found := merit.get(one)) else -1.0))
        wanted = [*kept, *(label for label in best if label not in kept)][:most]
        return [label for label in self.labels if label in wanted]

    def said(self, shown: Sequence[str]) -> str:
        """A sentence if a figure has no space for all methods."""
        if len(shown) == len(self.labels):
            return ""
        section = self.sections[-1]
        return (
            f" The figure shows {len(shown)} of {len(self.labels)} methods, those with the best {section.merit} "
            f"({section.where})."
        )

    def line(self, label: str) -> Line:
        """A method of the report."""
        return next(line for line in self.results.lines if line.label == label)


def untrained(results: Results) -> str:
    """The label of the first method that trains nothing, zero-shot CLIP; "" if there is none."""
    return next((line.label for line in results.lines if not line.trains), "")


def highlighted(experiment: Experiment, results: Results) -> str:
    """The label of the method that a report is about; for a grid its first point, "" if there is none."""
    return next((line.label for line in results.lines if line.family == experiment.highlight), "")


def looks(parts: Sequence[tuple[Experiment, Results]]) -> dict[str, Look]:
    """How the methods of a page look, in all of its parts: the methods that it is about first, zero-shot CLIP grey."""
    grey = {untrained(results) for _, results in parts} - {""}
    labels = [highlighted(*part) for part in parts] + [line.label for _, results in parts for line in results.lines]
    coloured = [label for label in dict.fromkeys(labels) if label and label not in grey]
    return {**{label: look(number) for number, label in enumerate(coloured)}, **dict.fromkeys(grey, _ZERO_SHOT)}


def first_of(shown: int, whole: int) -> str:
    """A sentence on a figure that has no space for all panels."""
    return f" The figure shows the first {shown} of {whole} panels." if shown < whole else ""


# ---------------------------------------------------------------------- numbers

_HOW = (
    "Large markers show the means of the tables, small dots show single seeds, horizontal lines show the "
    f"{LEVEL}% confidence interval over seeds (Student's t, n - 1 degrees of freedom), and the dashed vertical line "
    "shows zero-shot CLIP."
)


def methods(measured: Measured, path: Path) -> str:
    """All methods in the order of the tables, a panel for base, new and H; across data sets for source and average."""
    section, across = measured.sections[-1], measured.experiment.protocol in CROSS
    columns = section.columns
    if across:
        columns = (columns[0], *(columns[-1:] if len(columns) > 3 else columns[1:2]))
    places = {name: (name, ACCURACY) if across else (section.key, name) for name in columns}
    where = "source and target data sets" if across else section.title
    start = f"Accuracy of each method ({where})."
    return _dots(measured, places, measured.closest(_MOST_ROWS), start, path)


def datasets(measured: Measured, path: Path) -> str:
    """The same on each of several data sets, in the column that decides."""
    section, across = measured.sections[-1], measured.experiment.protocol in CROSS
    names = measured.results.datasets[across:]
    if len(names) < 2:
        return ""
    places = {name: (name, ACCURACY if across else section.deciding) for name in names[:MOST_PANELS]}
    start = f"{'H' if section.deciding == 'H' else 'Accuracy'} on each data set. Each panel has its own axis."
    return _dots(measured, places, measured.closest(_MOST_OF_PANELS), start, path)


def unknown_classes(measured: Measured, path: Path) -> str:
    """How well known classes are told from unknown ones, a panel for each score; "" where nothing was tested so."""
    found = unknown.numbers(measured.results)
    if found is None:
        return ""
    section = measured.sections[-1]
    places = {column: (section.key, column) for column in unknown.RISING}
    start = f"Detection of unknown classes ({unknown.against(measured.results)}), {section.title}."
    shown = measured._replace(numbers=found)
    return _dots(shown, places, measured.closest(_MOST_ROWS), start, path, "AUROC (%)")


def _dots(
    measured: Measured,
    places: Mapping[str, tuple[str, str]],
    labels: Sequence[str],
    start: str,
    path: Path,
    axis: str = "accuracy (%)",
) -> str:
    """A row for each method in a panel for each place and column; the caption."""
    found = {
        title: {label: cell.mean for label in labels if (cell := measured.numbers.cell(label, *place))}
        for title, place in places.items()
    }
    found = {title: means for title, means in found.items() if means}
    if not found:
        return ""
    rows = [label for label in labels if any(label in means for means in found.values())]
    with panels(path, list(found), high=0.5 + 0.26 * len(rows), legend=False, sharey=True) as grid:
        for axes, (title, means) in zip(grid, found.items()):
            for row, label in enumerate(rows):
                if label in means:
                    of_seeds = list(measured.numbers.of_seeds(label, *places[title]).values())
                    _mark(axes, row, means[label], of_seeds, measured.looks[label])
            if measured.zero_shot in means:
                axes.axvline(means[measured.zero_shot], color=_ZERO_SHOT["color"], ls="--", lw=1, zorder=1)
            axes.set(ylim=(len(rows) - 0.4, -0.6))
            _name_rows(axes, rows, measured.mine)
            axes.locator_params(axis="x", nbins=4)
            axes.grid(visible=False, axis="y")
        grid[0].figure.supxlabel(axis)
    return f"{start} {_HOW}{measured.said(labels)}"


def _name_rows(axes: Axes, labels: Sequence[str], strong: str) -> None:
    """Methods as the names of rows, one in bold."""
    axes.set_yticks(range(len(labels)), list(map(short_name, labels)))
    for text, label in zip(axes.get_yticklabels(), labels):
        text.set_fontweight("bold" if label == strong else "normal")


def _mark(axes: Axes, row: int, mean: float, of_seeds: Sequence[float], look: Look) -> None:
    if len(of_seeds) > 1:
        axes.plot(
            of_seeds, [row + 0.24] * len(of_seeds), "o", color=look["color"], ms=3.5, mew=0, alpha=0.6, gid="seeds"
        )
        axes.plot(interval(of_seeds) or (), [row, row], color=look["color"], gid="interval")
    axes.plot([mean], [row], **look, ls="none", mec="white", mew=0.5, gid="mean", zorder=3)


def shots(measured: Measured, path: Path) -> str:
    """Accuracy over several numbers of shots, a panel for each data set and the average; a line for zero-shot."""
    results, shown = measured.results, measured.closest(_MOST_CURVES)
    numbers = [column for column in results.columns if column.isdigit() and column != "0"]
    if len(numbers) < 2 or not shown:
        return ""
    with panels(path, [section.key for section in measured.sections]) as grid:
        for axes, section in zip(grid, measured.sections):
            for label in shown:
                columns = {float(number): own_column(results, measured.line(label), number) for number in numbers}
                cells = {x: measured.numbers.cell(label, section.key, column) for x, column in columns.items()}
                _points(axes, measured, label, {x: cell for x, cell in cells.items() if cell}, "-")
            axes.set_xscale("log", base=2)
            axes.set_xticks(list(map(int, numbers)), numbers)
            axes.minorticks_off()
        grid[0].figure.supxlabel("training images per class")
        grid[0].figure.supylabel("accuracy (%)")
    return f"Accuracy over the number of training images per class. {_WHISKERS}{measured.said(shown)}"


def _points(axes: Axes, measured: Measured, label: str, cells: Mapping[float, Cell], style: str) -> None:
    """A method's numbers with their deviations; of one that trains nothing a level."""
    look, name = measured.looks[label], short_name(label)
    means, stds = [cell.mean for cell in cells.values()], [cell.std or 0.0 for cell in cells.values()]
    if cells and measured.line(label).trains:
        axes.errorbar(list(cells), means, yerr=stds, **look, ls=style, label=name)
    elif cells:
        axes.axhline(means[0], color=look["color"], ls="--", label=name)


def costs(measured: Measured, path: Path) -> str:
    """Accuracy over seconds of training and over trained parameters; what trains nothing is a line."""
    shown = measured.closest(_MOST_OF_PANELS)
    spent = cost.costs(measured.experiment, measured.results, measured.sections)
    spent = [one for one in spent if one.label in shown and one.accuracy]
    of = {
        "training time (s)": {one.label: one.training_s.mean for one in spent if one.training_s},
        "trained parameters": {one.label: float(one.parameters[1]) for one in spent if one.parameters},
    }
    if not any(sum(map(bool, values.values())) > 1 for values in of.values()):
        return ""
    with panels(path, ["", ""], high=3.2, sharey=True) as grid:
        for axes, (name, values) in zip(grid, of.items()):
            for one in spent:
                if one.accuracy and (values.get(one.label) or not measured.line(one.label).trains):
                    _points(axes, measured, one.label, {values.get(one.label, 0.0): one.accuracy}, "none")
            axes.set_xlabel(name)
            if max(values.values(), default=1.0) >= 10 * min(filter(None, values.values()), default=1.0):
                axes.set_xscale("log")
            else:
                axes.locator_params(axis="x", nbins=5)
        grid[0].set_ylabel(f"{measured.sections[-1].merit} (%)")
    return (
        f"{cost.accuracy_name(measured.sections)}, over the training time in seconds (left) and over the number of "
        f"trained parameters (right). {_WHISKERS} A dashed line shows a method without training (zero-shot CLIP)."
        f"{measured.said(shown)}"
    )


# ---------------------------------------------------------------------- prompt tokens

Layers = tuple[tuple[int, int], ...]  # for each layer the carried tokens, and the new ones
# what reading a schedule that was edited by hand raises; the last two for one that is nested too deeply
_EDITED = (AttributeError, KeyError, TypeError, ValueError, SyntaxError, RecursionError, MemoryError)


def token_counts(results: Results) -> dict[str, list[dict[str, Layers]]]:
    """Carried and new prompt tokens of each layer, by method and side, of each schedule that its runs recorded."""
    found: dict[str, list[dict[str, Layers]]] = {}
    for line, _, _, _, outcome in results.all():
        schedules: Any = (outcome.result or {}).get("schedules")
        with contextlib.suppress(*_EDITED):
            sides = {side: _layers(Schedule(ast.literal_eval(schedules[side]), side)) for side in ("text", "vision")}
            if all(sides.values()) and sides not in found.setdefault(line.label, []):
                found[line.label].append(sides)
    return {label: own for label, own in found.items() if own}


def _layers(schedule: Schedule) -> Layers:
    return tuple((count - step.add, step.add) for count, step in zip(schedule.counts, schedule))


def tokens(measured: Measured, path: Path) -> str:
    """A row for each method, a panel for each side: in each field the share of carried and of new tokens, and both."""
    counts = token_counts(measured.results)
    shown = [label for label in measured.closest(_MOST_ROWS) if label in counts] or list(counts)[:_MOST_ROWS]
    rows = {
        side: {label: counts[label][0][side] for label in shown if any(map(sum, counts[label][0][side]))}
        for side in ("text", "vision")
    }
    rows = {side: own for side, own in rows.items() if own}
    if not rows:
        return ""
    most = max(map(len, rows.values()))
    with panels(path, [f"{side} layer (from 0)" for side in rows], 1, high=0.6 + 0.27 * most) as grid:
        grid[0].figure.set_figwidth(WIDTH)  # type: ignore[union-attr]
        for axes, own in zip(grid, rows.values()):
            _side(axes, own, measured.mine)
    several = [f"{label} ({len(counts[label])})" for label in shown if len(counts[label]) > 1]
    return (
        "Number of prompt tokens that enter each layer. 4+2 means four tokens carried over from the previous layer and "
        "two new tokens, 4 means carried tokens only, and +2 means new tokens only. Tokens that are not carried over "
        "are removed."
        + (
            " The runs of some methods used several schedules (number in parentheses), and the figure shows the first: "
            f"{', '.join(several)}."
            if several
            else ""
        )
    )


def _side(axes: Axes, rows: Mapping[str, Layers], strong: str) -> None:
    layers = max(map(len, rows.values()))
    for number, own in enumerate(rows.values()):
        for layer, (carried, new) in enumerate(own):
            share = 0.92 * carried / (carried + new) if carried + new else 0.0
            axes.barh(number, share, 0.84, left=layer - 0.46, color=_CARRIED)
            axes.barh(number, 0.92 - share if new else 0.0, 0.84, left=layer - 0.46 + share, color=_NEW)
            text = f"{carried}+{new}" if carried and new else f"+{new}" if new else str(carried)
            axes.text(layer, number, text, ha="center", va="center", fontsize=9 if layers <= 12 else 6)
    for kind, colour in (("carried", _CARRIED), ("new", _NEW)):
        axes.bar([0], [0], color=colour, label=kind)
    axes.set(xlim=(-0.5, layers - 0.5), ylim=(len(rows) - 0.5, -0.5))
    axes.set_xticks(range(layers))
    _name_rows(axes, list(rows), strong)
    axes.grid(visible=False)
    axes.tick_params(length=0)
    axes.spines[:].set(visible=False)


# ---------------------------------------------------------------------- trainings and tests


def views(measured: Measured) -> dict[tuple[str, str], dict[str, list[Outcome]]]:
    """The finished runs of each data set and column by method, for shots only of the most; those of all seeds."""
    results, columns = measured.results, list(measured.results.columns)
    if measured.experiment.protocol == "few_shot":
        columns = [most_shots(columns) or columns[-1]]
    found: dict[tuple[str, str], dict[str, list[Outcome]]] = {}
    for dataset in results.datasets:
        for column in (one for one in columns if one != TOGETHER[ALONE[1]]):  # one test fills both
            for line in results.lines:
                own = own_column(results, line, column)
                outcomes = results.runs(line, dataset, own) if results.is_asked(line, own) else None
                if outcomes and all(one.result and one.folder for one in outcomes):
                    found.setdefault((dataset, column), {})[line.label] = outcomes
    return found


def title_of(dataset: str, column: str) -> str:
    """The title of a panel of a data set and column."""
    if column == ACCURACY:
        return dataset
    return f"{dataset}, {shots_in_words(column) if column.isdigit() else column}"


def loss_curves(measured: Measured, faults: list[str], path: Path) -> str:
    """Training losses over epochs, means and deviations over seeds, a panel for each training."""
    experiment, found = measured.experiment, dict[str, dict[str, Any]]()
    shown = [label for label in measured.closest(_MOST_CLOSE + 1) if measured.line(label).trains][:_MOST_CLOSE]
    for (dataset, column), runs in views(measured).items():
        is_test = experiment.protocol == BASE2NEW and column != ALONE[0]
        if is_test or (experiment.protocol in CROSS and dataset != experiment.source):
            continue
        own = {label: losses(runs[label], faults) for label in shown if label in runs}
        if any(loss is not None for loss in own.values()):
            found[title_of(dataset, column)] = {label: loss for label, loss in own.items() if loss is not None}
    drawn = dict(list(found.items())[:MOST_PANELS])
    if not drawn:
        return ""
    with panels(path, list(drawn)) as grid:
        for axes, of_methods in zip(grid, drawn.values()):
            for label, loss in of_methods.items():
                mean, std, epochs = loss.mean(axis=0), loss.std(axis=0), range(1, loss.shape[1] + 1)
                colour = measured.looks[label]["color"]
                axes.plot(epochs, mean, color=colour, label=short_name(label))
                if len(loss) > 1:
                    axes.fill_between(epochs, mean - std, mean + std, color=colour, alpha=0.2, lw=0)
            axes.locator_params(axis="x", integer=True)
        grid[0].figure.supxlabel("epoch")
        grid[0].figure.supylabel("training loss")
    return (
        "Mean training loss of each epoch, averaged over seeds. Bands show the standard deviation over seeds. Each "
        "method has its own loss function, so loss values of different methods cannot be compared."
        f"{first_of(len(drawn), len(found))}"
    )


def confusions(label: str, dataset: str, tests: Mapping[str, Recorded], path: Path) -> str:
    """Draw the confusion matrices of a method in percent of a class's images, a panel for each half of the classes.

    Of many classes, only the classes with the most errors are drawn.
    """
    said: list[str] = []
    with panels(path, [title_of(dataset, half) for half in tests], high=2.9, legend=False) as grid:
        for axes, (half, own) in zip(grid, tests.items()):
            kept = _mixed_up(own.confusion)
            said += [f"{len(kept)} of {len(own.names)} ({half})"] if len(kept) < len(own.names) else []
            _confusion(axes, own, kept)
        grid[0].figure.supxlabel("predicted class (% of the images of the true class)")
        grid[0].figure.supylabel("true class")
    those = f" Only the classes with the most errors are shown: {', '.join(said)}." if said else ""
    return (
        f"Confusion matrices of {label} on {dataset} in percent, summed over all seeds. Each row is a true class, and "
        f"each column is a predicted class.{those}"
    )


def _mixed_up(confusion: np.ndarray) -> list[int]:
    wrong = confusion - np.diag(np.diagonal(confusion))
    most = np.argsort(-(wrong.sum(axis=0) + wrong.sum(axis=1)), kind="stable")[:_MOST_CLASSES]
    return sorted(int(number) for number in most)


def _confusion(axes: Axes, tested: Recorded, kept: Sequence[int]) -> None:
    images = np.maximum(tested.confusion.sum(axis=1), 1)[:, None]
    shares = (100 * tested.confusion / images)[np.ix_(kept, kept)]
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=100)
    for (row, column), share in np.ndenumerate(shares):
        if len(kept) <= _MOST_NUMBERS and round(share):
            axes.text(
                column, row, f"{share:.0f}", ha="center", va="center", fontsize=7, color="w" if share > 60 else "0.1"
            )
    texts = [short_name(tested.names[number], 18) for number in kept]
    axes.set_xticks(range(len(kept)), texts, fontsize=8, rotation=90)
    axes.set_yticks(range(len(kept)), texts, fontsize=8)
    axes.grid(visible=False)


# ---------------------------------------------------------------------- image features

_MOST_POINTS = 5000  # images of a t-SNE, whose time grows with the square of their number


def feature_map(measured: Measured, shown: FeatureMap, faults: list[str], path: Path) -> str:
    """Draw the image features of one test of a method in two dimensions, a panel for each half of the classes.

    A finished run without stored features is named in `faults`. Returns the caption, or "" without a figure.
    """
    columns = [column for column in measured.results.columns if column not in TOGETHER.values()]
    if measured.experiment.protocol == "few_shot":
        columns = [most_shots(columns) or columns[-1]]
    found: dict[str, dict[str, np.ndarray]] = {}
    for line in measured.results.lines:
        for column in columns if line.label == shown.method else ():
            own = own_column(measured.results, line, column)
            outcome = measured.results.outcomes(line, shown.dataset, own).get(shown.seed)
            arrays = stored_features(outcome, faults) if outcome is not None else None
            if arrays is not None:
                found[title_of(shown.dataset, column)] = arrays
    if not found:
        return ""
    with panels(path, list(found), high=3.6) as grid:
        every = list(dict.fromkeys(name for arrays in found.values() for name in arrays["names"].tolist()))
        said = [_features(axes, arrays, every, shown.projection) for axes, arrays in zip(grid, found.values())]
    how = "PCA" if shown.projection == "pca" else "t-SNE (scikit-learn, random_state 0)"
    return (
        f"Image features of {shown.method} on the test images of {shown.dataset} (seed {shown.seed}), projected onto "
        f"two dimensions with {how}. Each point is an image, the colours show the true classes, and crosses mark "
        f"images that were classified wrongly. The figure shows {' and '.join(said)}."
    )


def _features(axes: Axes, arrays: Mapping[str, np.ndarray], every: Sequence[str], projection: str) -> str:
    """Draw the projected features (N, E) of a test, coloured by class; return what the panel shows.

    `every` are the names of the classes of all panels, whose colours differ if there are at most 20.
    """
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    features, labels, predicted = (arrays[name] for name in ("features", "labels", "predicted"))
    said = f"{len(features):,} images"
    if projection == "tsne" and len(features) > _MOST_POINTS:
        kept = np.sort(np.random.default_rng(0).permutation(len(features))[:_MOST_POINTS])
        said = f"{_MOST_POINTS:,} of {said}"
        features, labels, predicted = features[kept], labels[kept], predicted[kept]
    if projection == "pca":
        made = PCA(n_components=2, svd_solver="full").fit(features)
        places = made.transform(features)
        said += f" ({100 * made.explained_variance_ratio_.sum():.0f}% of the variance)"
    else:
        perplexity = min(30.0, max(1.0, (len(features) - 1) / 3))
        places = TSNE(n_components=2, random_state=0, init="pca", perplexity=perplexity).fit_transform(features)
    few = len(every) <= _MOST_CLASSES
    colours = import_module("matplotlib").colormaps["tab20" if few else "hsv"]
    names = arrays["names"].tolist()
    numbers = np.array([every.index(name) for name in names])  # one colour for a class in all panels
    numbers = numbers if few else numbers / len(every)
    axes.scatter(places[:, 0], places[:, 1], s=9.0, c=colours(numbers[labels]), linewidths=0)
    for name, number in zip(names, numbers) if few else ():
        axes.scatter([], [], s=9.0, color=colours(number), label=short_name(name, 18))
    x, y = places[labels != predicted].T
    axes.scatter(x, y, s=14, marker="x", color="black", linewidths=0.7, label="classified wrongly")
    axes.set(xticks=[], yticks=[])
    axes.grid(visible=False)
    return said
