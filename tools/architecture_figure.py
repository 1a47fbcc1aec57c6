"""Draw the packages of modprompt/ in their layers, from tests/modprompt/test_boundaries.py, and which imports which.

python -m tools.architecture_figure            docs/architecture.png
"""

from __future__ import annotations

import ast
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tools import figure_file

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "modprompt"
DEFAULT = ROOT / "docs" / "architecture.png"
OF_ALL = "io"  # imported by every package: its arrows would hide the others
WIDTH, HEIGHT = 2.6, 0.62  # of a package's box; layers are 1 apart


def _of_the_test(name: str) -> Any:
    """A table of the test of boundaries."""
    tree = ast.parse((ROOT / "tests/modprompt/test_boundaries.py").read_text(encoding="utf-8"))
    (table,) = (
        node.value
        for node in tree.body
        if isinstance(node, ast.Assign) and [ast.unparse(one) for one in node.targets] == [name]
    )
    return ast.literal_eval(table)


def floors_of_the_test() -> list[list[str]]:
    """The packages of each layer, the lowest first, from the test's table."""
    return [sorted(rooms) for rooms in _of_the_test("FLOORS")]


def _room_of(path: Path, rooms: set[str]) -> str:
    name = path.relative_to(PACKAGE).with_suffix("").parts[0]
    return name if name in rooms else ""


def imports(rooms: set[str]) -> tuple[Counter[str], Counter[tuple[str, str]]]:
    """Lines of each package, and how many modules of a package import another one, except OF_ALL."""
    lines: Counter[str] = Counter()
    arrows: Counter[tuple[str, str]] = Counter()
    above = _of_the_test("ABOVE")
    for path in sorted(PACKAGE.rglob("*.py")):
        own = _room_of(path, rooms)
        if not own or "stand_in" in path.parts:
            continue
        text = path.read_text(encoding="utf-8")
        lines[own] += text.count("\n")
        if path.relative_to(PACKAGE).as_posix() in above:
            continue
        modules = {
            node.module.split(".")[1]
            for node in ast.walk(ast.parse(text))
            if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("modprompt.")
        }
        arrows.update((own, other) for other in modules & rooms - {own, OF_ALL})
    return lines, arrows


def figure() -> Figure:
    """A row for each layer; arrows go to imported packages, wider for more modules that import them."""
    from matplotlib.figure import Figure
    from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

    _, *floors, _ = floors_of_the_test()  # all may import the lowest, and the highest all
    rooms = {room for floor in floors for room in floor}
    lines, arrows = imports(rooms)
    fig = Figure(figsize=(7.2, 0.8 * len(floors)), layout="constrained")
    axes = fig.subplots()
    shift = [0.0, 1.5, -1.5, 1.5, -1.5]  # boxes above each other would hide arrows that pass one
    place = {
        room: (shift[height % len(shift)] + 3.2 * (at - (len(floor) - 1) / 2), height)
        for height, floor in enumerate(floors)
        for at, room in enumerate(floor)
    }
    most = max(arrows.values())
    for (above, below), count in arrows.items():
        (x, y), (to_x, to_y) = place[above], place[below]
        ends = (x, y - HEIGHT / 2), (to_x, to_y + HEIGHT / 2)
        line: dict[str, Any] = {"linewidth": 0.5 + 2.5 * count / most, "color": "#9bb0cc", "zorder": 1}
        axes.add_patch(FancyArrowPatch(*ends, arrowstyle="-|>", mutation_scale=8, shrinkA=0, shrinkB=0, **line))
    for room, (x, y) in place.items():
        corner = (x - WIDTH / 2, y - HEIGHT / 2)
        style = "round,pad=0,rounding_size=0.12"
        look: dict[str, Any] = {"facecolor": "#f2f5fa", "edgecolor": "#4c72b0", "zorder": 2}
        axes.add_patch(FancyBboxPatch(corner, WIDTH, HEIGHT, boxstyle=style, **look))
        middle: dict[str, Any] = {"ha": "center", "va": "center", "zorder": 3}
        axes.text(x, y + 0.1, room, fontsize=10, weight="bold", **middle)
        said = f"{lines[room]:,} lines" + (" (every package imports it)" if room == OF_ALL else "")
        axes.text(x, y - 0.17, said, fontsize=7.5, color="#555555", **middle)
    axes.set_xlim(-4.5, 3.1)
    axes.set_ylim(-0.5, len(floors) - 0.5)
    axes.set_axis_off()
    return fig


def main(argv: list[str] | None = None) -> int:
    """Draw the figure; 2 after a message on a file that cannot be written."""
    return figure_file.main(figure, DEFAULT, __doc__, argv)


if __name__ == "__main__":
    raise SystemExit(main())
