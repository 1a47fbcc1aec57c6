"""The accuracies of heads on precomputed features as a table, a CSV file and a figure."""

import os
from collections.abc import Sequence
from pathlib import Path

from modprompt.errors import UserError
from modprompt.io.figures import can_draw, look, panels
from modprompt.io.tables import Cell, read_table, require_replaceable, write_table
from modprompt.io.text import one_line
from modprompt.methods.heads.base import VAL
from modprompt.methods.heads.features import BASE, NEW, Features
from modprompt.trainers.on_features import Row

CSV, FIGURE = "heads.csv", "heads.png"
_KEYS = ("head", "shots", "clip", "split")  # the first columns, which tell one table from another
_KIND = "kind"
_APART = [(score, key) for score in ("probability", "energy") for key in ("auroc_pct", "fpr95_pct")]


def _images_of(features: Features) -> str:
    return "validation" if features.split == VAL else features.split


def _named(row: Row, features: Features) -> dict[str, Cell]:
    """Return the cells of a row by column."""
    of_base = f"{BASE}_" if row.new else ""
    cells: dict[str, Cell] = {
        "head": row.fitted.name,
        "shots": row.fitted.shots,
        "clip": features.backbone,
        "split": _images_of(features),
        f"{of_base}images": row.tested.images,
        f"{of_base}right": row.tested.right,
        f"{of_base}accuracy_pct": f"{row.tested.accuracy_pct:.2f}",
        f"{of_base}ece_pct": f"{row.tested.ece_pct:.2f}",
    }
    if row.new is not None and row.apart is not None:
        cells |= {f"{NEW}_images": row.new.images, f"{NEW}_right": row.new.right}
        cells[f"{NEW}_accuracy_pct"] = f"{row.new.accuracy_pct:.2f}"
        cells |= {f"{one}_{key}": f"{row.apart[one][key]:.2f}" if one in row.apart else None for one, key in _APART}
    return {**cells, _KIND: row.fitted.kind, "settings": row.fitted.how}


def table(rows: Sequence[Row], features: Features) -> str:
    """Return a table as a string: first heads without training, then trained heads."""
    found = [_named(row, features) for row in rows]
    kinds = dict.fromkeys(sorted(str(cells.pop(_KIND)) for cells in found))
    shown = [[*found[0]], *(["" if cell is None else str(cell) for cell in cells.values()] for cells in found)]
    widths = [max(map(len, column)) for column in zip(*shown)]
    head, *body = ("  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip() for line in shown)
    lines = [head]
    for kind in kinds:
        lines += ["", f"{kind}:"] if kind else []
        lines += [line for line, row in zip(body, rows) if row.fitted.kind == kind]
    return "\n".join(lines)


def require_replaceable_files(folder: Path) -> None:
    """Raise UserError if the command would replace a file that it did not write itself."""
    require_replaceable(folder / CSV, _KEYS, "--out")
    if os.path.lexists(folder / FIGURE) and not (folder / CSV).exists():
        raise UserError(
            f"--out: {folder / FIGURE} already exists, and the folder contains no {CSV}, so the figure was not "
            "written by this command and is not overwritten. Use a different --out folder."
        )


def write(rows: Sequence[Row], features: Features, folder: Path) -> list[Path]:
    """Write the CSV file, and a figure if possible; return the paths of the files.

    Raises:
        UserError: if the folder has a table of other heads, shots, CLIP or images, or files of something else.
    """
    found = [_named(row, features) for row in rows]
    require_replaceable_files(folder)
    if (folder / CSV).exists():
        there = [tuple(cells.values()) for _, cells in read_table(folder / CSV, _KEYS)]
        if there != [tuple(str(cells[key]) for key in _KEYS) for cells in found]:
            heads = ", ".join(dict.fromkeys(head for head, *_ in there))
            raise UserError(
                f"--out: {folder / CSV} contains results of another comparison (with other heads, shots, CLIP weights "
                f"or images), so the file is not overwritten. Its heads are {one_line(heads)[:200]}. Use a "
                "different --out folder."
            )
    write_table(folder / CSV, [*found[0]], [cells.values() for cells in found])
    numbers = sorted({row.fitted.shots for row in rows} - {0})
    if not (numbers and can_draw()):
        return [folder / CSV]
    of = [f"{BASE} classes", f"{NEW} classes"] if any(row.new for row in rows) else ["all classes"]
    with panels(folder / FIGURE, of) as grid:
        for number, name in enumerate(dict.fromkeys(row.fitted.name for row in rows)):
            own = [row for row in rows if row.fitted.name == name]
            of_halves = [[row.tested for row in own], [row.new for row in own if row.new]]
            for axes, tests in zip(grid, of_halves):
                high = [test.accuracy_pct for test in tests]
                if own[0].fitted.shots:
                    axes.plot([row.fitted.shots for row in own], high, **look(number), label=name)
                else:
                    axes.axhline(high[0], color=look(number)["color"], ls="--", label=name)
        for axes in grid:
            axes.set_xscale("log", base=2)
            axes.set_xticks(numbers, list(map(str, numbers)))
            axes.minorticks_off()
        grid[0].figure.supxlabel("training images per class")
        grid[0].figure.supylabel(f"accuracy (%), {_images_of(features)} images")
    return [folder / CSV, folder / FIGURE]
