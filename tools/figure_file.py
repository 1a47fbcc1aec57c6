"""A program that draws one figure: the file is a flag, and a failure to write is one message."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from modprompt.programs import report

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def main(figure: Callable[[], Figure], default: Path, description: str | None, argv: list[str] | None) -> int:
    """Draw the figure; 2 after a message on a file that cannot be written.

    Args:
        figure: draws it.
        default: the file if none is given.
        description: of the program, for its help.
        argv: the words after its name; None for those of this process.
    """
    return report(_main, figure, default, description, argv)


def _main(figure: Callable[[], Figure], default: Path, description: str | None, argv: list[str] | None) -> int:
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--to", type=Path, default=default, help="a file, .png, .pdf or .svg")
    args = parser.parse_args(argv)
    figure().savefig(args.to, dpi=160, facecolor="white")
    print(f"Written: {args.to}")
    return 0
