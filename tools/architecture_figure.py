"""Draw the packages of modprompt by layer, from the table in docs/architecture.md.

python -m tools.architecture_figure            writes docs/architecture.png
python -m tools.architecture_figure --to layers.pdf
"""

from __future__ import annotations

import argparse
import re
import textwrap
from pathlib import Path

from modprompt.programs import report

DOCS = Path(__file__).resolve().parent.parent / "docs"
DEFAULT = DOCS / "architecture.png"
COLOURS = ("#4c72b0", "#dbe4f2")  # package names, boxes


def layers() -> list[tuple[str, str]]:
    """Return (packages, content) of each layer in the table of the page, from the top to the bottom."""
    page = (DOCS / "architecture.md").read_text()
    rows = re.findall(r"^\| \d+ \| ((?:`\w+` ?)+)\| (.+?) \|$", page, flags=re.MULTILINE)
    return [("   ".join(re.findall(r"\w+", packages)), content.replace("`", "")) for packages, content in rows]


def draw(path: Path) -> None:
    """Write the picture: one box for each layer, with its packages in bold and its content below them."""
    from matplotlib.figure import Figure
    from matplotlib.patches import FancyBboxPatch

    rows = layers()
    figure = Figure(figsize=(8.5, 0.72 * len(rows) + 0.5), layout="constrained")
    axes = figure.subplots()
    for place, (packages, content) in enumerate(reversed(rows)):
        shape = "round,pad=0.02,rounding_size=0.08"
        axes.add_patch(FancyBboxPatch((0, place), 10, 0.72, boxstyle=shape, fc=COLOURS[1], ec="none"))
        axes.text(0.15, place + 0.5, packages, color=COLOURS[0], weight="bold", size=11, va="center")
        axes.text(0.15, place + 0.18, textwrap.shorten(content, 105), size=9, va="center")
    axes.annotate("", (10.3, 0), (10.3, len(rows) - 0.3), arrowprops={"arrowstyle": "->", "color": "#666666"})
    axes.text(10.4, len(rows) / 2, "imports", rotation=270, size=10, va="center", color="#666666")
    axes.set(xlim=(-0.1, 10.8), ylim=(-0.1, len(rows) - 0.2))
    axes.axis("off")
    figure.savefig(path, dpi=150)


def _main(argv: list[str] | None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--to",
        type=Path,
        default=DEFAULT,
        help="the file to write: .png, .pdf or .svg (default: docs/architecture.png)",
    )
    draw(parser.parse_args(argv).to)


def main(argv: list[str] | None = None) -> int:
    """Draw the figure, and return 2 after a message if the file cannot be written."""
    return report(_main, argv)


if __name__ == "__main__":
    raise SystemExit(main())
