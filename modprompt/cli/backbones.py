"""The CLIPs that are known by name: what each is, and what runs on it.

    modprompt backbones [WORD]

Pairs are text side/image side. A side that is not OpenAI's transformer shows its family in place of numbers: the image
side of a ResNet has no layers, its width is that of its stem, and its heads are those of its attention pool. "runs":
everything; the methods with prompts in that side, and heads; or heads, on features. Zero-shot runs on all.
"""

import argparse
from collections.abc import Sequence

from modprompt.checks import nearest
from modprompt.clip import known
from modprompt.errors import UserError

_HEAD = ("name", "dialect", "from", "layers", "widths", "heads", "activation", "pixels", "sides", "runs")


def _cells(row: known.Row) -> tuple[str, ...]:
    pairs = ["/".join(map(str, pair)) for pair in (row.layers, row.widths, row.design.heads)]
    shape = ["-"] * 4 if row.has_tower else [*pairs, row.design.activation]
    return (row.name, row.dialect, row.source, *shape, str(row.design.images.size), "/".join(row.families), row.runs)


def _table(cells: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*cells)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip() for line in cells]


def lines(word: str = "") -> list[str]:
    """The report: a table, and counts.

    Args:
        word: a part of the names, in any case; another name of a CLIP finds that CLIP.

    Raises:
        UserError: if there is none.
    """
    of_word = known.find(word)
    rows = [row for row in known.rows() if word.lower() in row.name.lower() or row == of_word]
    if not rows:
        hint = nearest(word, [row.name for row in known.rows()])
        raise UserError(f"modprompt backbones: no name has {word!r} in it{hint}")
    return [*_table([_HEAD, *map(_cells, rows)]), "", *_sums()]


def markdown() -> list[str]:
    """The table for docs/backbones.md, a line for each row."""
    head = ["| " + " | ".join(_HEAD) + " |", "|" + " --- |" * len(_HEAD)]
    return head + ["| `{}` | {} |".format(cells[0], " | ".join(cells[1:])) for cells in map(_cells, known.rows())]


def _sums() -> list[str]:
    counts, rows, version = known.counts(), known.rows(), known.open_clip_version()
    of_openai = sum(row.source == "OpenAI" for row in rows)
    of_open_clip = sum(row.dialect == known.OPEN_CLIP for row in rows)
    runs = ", ".join(f"{what} on {count}" for what, count in counts.items())
    return [
        f"{len(rows)} are known: glyph-clip, {of_openai} of OpenAI's and {of_open_clip} of open_clip's. "
        f"Without glyph-clip they are the {sum(counts.values())} pretrained tags of open_clip {version}, "
        f"which counts -quickgelu names too: {runs}.",
        "Those with another family than stock or ResNet need open_clip_torch, timm and transformers.",
        "This project's tests run glyph-clip, but no real weights of the others: they have no network.",
    ]


def main(argv: list[str] | None = None) -> int:
    """Print the report. Exit code 0.

    Raises:
        UserError: if no name contains the word.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--all", action="store_true", help="no effect: all known ones run")
    parser.add_argument("word", nargs="?", default="", metavar="WORD", help="only names that contain this")
    args = parser.parse_args(argv)
    print("\n".join(lines(args.word)))
    return 0
