"""The CLIPs that are known by name: what each is, and with --all those that cannot run, and why.

    python -m modprompt backbones [--all] [WORD]

Pairs are text side/image side. The image side of a ResNet has no layers, its width is that of its stem, and its heads
are those of its attention pool.
"""

import argparse
from typing import List, Optional, Sequence, Tuple

from modprompt.checks import nearest
from modprompt.clip import known
from modprompt.errors import UserError

_HEAD = ("name", "dialect", "from", "layers", "widths", "heads", "activation", "pixels")


def _cells(row: known.Row) -> Tuple[str, ...]:
    pairs = ("/".join(map(str, pair)) for pair in (row.layers, row.widths, row.design.heads))
    return (row.name, row.dialect, row.source, *pairs, row.design.activation, str(row.design.images.size))


def _table(cells: Sequence[Sequence[str]]) -> List[str]:
    widths = [max(map(len, column)) for column in zip(*cells)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip() for line in cells]


def lines(word: str = "", refused_too: bool = False) -> List[str]:
    """The report: a table, those that cannot run, and how many there are of each.

    Args:
        word: what the names must have in them, in any case; another name of a CLIP that runs gives this one.
        refused_too: whether those that cannot run are listed.

    Raises:
        UserError: if there is none.
    """
    of_word = known.find(word)
    rows = [row for row in known.rows() if word.lower() in row.name.lower() or row == of_word]
    refused = [name for name in known.refused_names() if word.lower() in name.lower()]
    if not rows and not (refused and refused_too):
        hint = f"; of those that cannot run there are {len(refused)}: add --all" if refused else ""
        hint = hint or nearest(word, [row.name for row in known.rows()])
        raise UserError(
            f"modprompt backbones: no name{'' if refused_too else ' of a CLIP that runs'} has {word!r} in it{hint}"
        )
    text = _table([_HEAD, *map(_cells, rows)]) if rows else []
    if refused and refused_too:
        text += [""] * bool(text) + [known.refusal(name) for name in refused]
    return [*text, "", *_sums()]


def markdown() -> List[str]:
    """The table of those that run for docs/backbones.md, a line a row."""
    head = ["| " + " | ".join(_HEAD) + " |", "|" + " --- |" * len(_HEAD)]
    return head + ["| `{}` | {} |".format(cells[0], " | ".join(cells[1:])) for cells in map(_cells, known.rows())]


def _sums() -> List[str]:
    counts, rows, version = known.counts(), known.rows(), known.open_clip_version()
    of_openai = sum(row.source == "OpenAI" for row in rows)
    of_open_clip = sum(row.dialect == known.OPEN_CLIP for row in rows)
    tags = counts["runs"] + counts["refused"]
    return [
        f"{len(rows)} can run: glyph-clip, {of_openai} of OpenAI's and {of_open_clip} of open_clip's. "
        f"Without glyph-clip they are {counts['runs']} of the {tags} pretrained tags of open_clip {version}, "
        f"which counts -quickgelu names too; its other {counts['refused']} are refused.",
        "The real weights of none of these were run by this project's tests, which have no network; glyph-clip is.",
    ]


def main(argv: Optional[List[str]] = None) -> int:
    """Print the report. Exit code 0.

    Raises:
        UserError: if no name has the word in it.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--all", action="store_true", help="also those that cannot run, and why")
    parser.add_argument("word", nargs="?", default="", metavar="WORD", help="only names with this in them")
    args = parser.parse_args(argv)
    print("\n".join(lines(args.word, args.all)))
    return 0
