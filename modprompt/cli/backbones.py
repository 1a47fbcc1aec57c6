"""The CLIPs that are known by name, and what runs on each.

    modprompt backbones [WORD]

"runs": everything; the methods with prompts in that side, and heads; or heads, on features. Zero-shot runs on all.
MODEL/openai is OpenAI's own, MODEL-quickgelu/TAG a tag with quick_gelu.
"""

import argparse
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from modprompt.checks import nearest
from modprompt.clip import known, open_clips, package
from modprompt.errors import UserError

_HEAD = ("name", "from", "activation", "pixels", "runs")
Row = tuple[str, ...]


def _at_hand() -> Iterator[Row]:
    """A row of cells for each of OpenAI's, and for glyph-clip."""
    for name in (*known.OPENAI, known.EMBEDDED):
        kinds, _ = known.kinds_and_layers(name) or (None, None)
        of_openai = known.OPENAI.get(name)
        origin, pixels = ("OpenAI", of_openai.pixels) if of_openai else ("this package", 32)
        yield name, origin, "quick_gelu", str(pixels), kinds.runs if kinds else ""


def _of_open_clip(tags: Iterable[tuple[str, str]]) -> Iterator[Row]:
    """A row for each of open_clip's tags (model, tag)."""
    for model, tag in tags:
        if tag == "openai":
            continue
        facts = open_clips.tag(f"{model}/{tag}")
        stock = any(open_clips.is_stock_side(facts.model, key) for key in ("text_cfg", "vision_cfg"))
        activation = ("quick_gelu" if facts.model["quick_gelu"] else "gelu") if stock else "-"
        yield facts.name, facts.repo, activation, str(facts.images.size), open_clips.kinds_of(facts.model).runs


def lines(word: str = "") -> list[str]:
    """The report: a table, and counts.

    Args:
        word: a part of the names, in any case.

    Raises:
        UserError: if there is none.
    """
    try:
        every = [*_at_hand(), *_of_open_clip(open_clips.tags())]
        source = f"open_clip {package.open_clip().__version__}'s pretrained tags are among them."
    except UserError as error:
        every, source = [*_at_hand()], f"open_clip's pretrained tags are not among them: {error}"
    shown = [row for row in every if word.lower() in row[0].lower() or row[0] == known.plain(word)]
    if not shown:
        raise UserError(f"modprompt backbones: no name has {word!r} in it{nearest(word, [row[0] for row in every])}")
    widths = [max(map(len, column)) for column in zip(_HEAD, *shown)]
    table = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in (_HEAD, *shown)]
    runs = ", ".join(f"{what} on {count}" for what, count in Counter(row[-1] for row in every).items())
    more = "This project's tests run glyph-clip, but no real weights of the others: they have no network."
    return [*table, "", f"{len(every)} are known: {runs}. {source}", more]


def main(argv: Sequence[str] | None = None) -> int:
    """Print the report. Exit code 0.

    Raises:
        UserError: if no name contains the word.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("word", nargs="?", default="", metavar="WORD", help="only names that contain this")
    print("\n".join(lines(parser.parse_args(argv).word)))
    return 0
