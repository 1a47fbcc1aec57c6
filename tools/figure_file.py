"""What a program that draws one figure does: the file is a flag, and what cannot be written is one line."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Callable

from modprompt.programs import report

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def main(figure: Callable[[], Figure], default: Path, description: str | None, argv: list[str] | None) -> int:
    """Draw the figure; 2 after one line on a file that cannot be written.

    Args:
        figure: draws it.
        default: where it goes if nothing is said.
        description: of the program, for its help.
        argv: the words behind its name; None for those of this process.
    """
    return report(_main, figure, default, description, argv)


def _main(figure: Callable[[], Figure], default: Path, description: str | None, argv: list[str] | None) -> int:
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--to", type=Path, default=default, help="a file, .png, .pdf or .svg")
    args = parser.parse_args(argv)
    figure().savefig(args.to, dpi=160, facecolor="white")
    print(f"Written: {args.to}")
    return 0
