"""The CLIPs that are known by name, and what runs on each.

    modprompt backbones [WORD]

"runs": everything; the methods with prompts in that side, and heads; or heads, on features. Zero-shot runs on all.
MODEL/openai is OpenAI's own, MODEL-quickgelu/TAG a tag with quick_gelu.
"""

import argparse
from collections import Counter
from collections.abc import Iterator, Sequence

from modprompt.checks import nearest
from modprompt.clip import known, open_clips, package
from modprompt.errors import UserError

Row = tuple[str, ...]


def _openai_and_embedded() -> Iterator[Row]:
    """A row of cells for each of OpenAI's, and for glyph-clip."""
    for name in (*known.OPENAI, known.EMBEDDED):
        kinds, _ = known.kinds_and_layers(name) or (known.Kinds(), None)
        is_own = name == known.EMBEDDED
        pixels = 32 if is_own else known.OPENAI[name].pixels
        yield name, "this package" if is_own else "OpenAI", "quick_gelu", str(pixels), kinds.runs


def _of_open_clip() -> Iterator[Row]:
    """A row for each of open_clip's pretrained tags but OpenAI's own."""
    for model, tag in open_clips.tags():
        if tag != "openai":
            facts = open_clips.tag(f"{model}/{tag}")
            is_stock = any(open_clips.is_stock_side(facts.model, key) for key in ("text_cfg", "vision_cfg"))
            activation = ("quick_gelu" if facts.model["quick_gelu"] else "gelu") if is_stock else "-"
            runs = open_clips.kinds_of(facts.model).runs
            yield facts.name, facts.repo, activation, str(facts.images.size), runs


def lines(word: str = "") -> list[str]:
    """The report: a table of the names with a word in them, in any case, and counts; UserError if there is none."""
    rows = [*_openai_and_embedded()]
    try:
        rows += _of_open_clip()
        source = f"open_clip {package.open_clip().__version__}'s pretrained tags are among them."
    except UserError as error:
        source = f"open_clip's pretrained tags are not among them: {error}"
    shown = [row for row in rows if word.lower() in row[0].lower() or row[0] == known.plain(word)]
    if not shown:
        raise UserError(f"modprompt backbones: no name has {word!r} in it{nearest(word, [row[0] for row in rows])}")
    table = [("name", "from", "activation", "pixels", "runs"), *shown]
    widths = [max(map(len, column)) for column in zip(*table)]
    runs = ", ".join(f"{what} on {count}" for what, count in Counter(row[-1] for row in rows).items())
    return [
        *("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in table),
        "",
        f"{len(rows)} are known: {runs}. {source}",
        "This project's tests run glyph-clip, but no real weights of the others: they have no network.",
    ]


def main(argv: Sequence[str] | None = None) -> int:
    """Print the report; exit code 0. UserError if no name contains the word."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("word", nargs="?", default="", metavar="WORD", help="only names that contain this")
    print("\n".join(lines(parser.parse_args(argv).word)))
    return 0
