"""List the CLIP models that can be selected by name, and the methods that run on each model.

    modprompt backbones [WORD]            list the names that contain a word; upper and lower case are equal
    modprompt backbones '*B-16*'          list the names that match a pattern of *, ? and [...]; - also matches /

The column "runs" says which methods support a model. "everything": all methods. "text side" or "vision side": the
methods with prompts in the text encoder or in the image encoder. "heads": the heads, which use image features.
Zero-shot classification runs on every model. MODEL/openai names OpenAI's weights, and MODEL-quickgelu/TAG names weights
that use the quick_gelu activation.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase

from modprompt.checks import counted, nearest
from modprompt.clip import known, lookup, open_clips, package, spec
from modprompt.errors import UserError
from modprompt.programs import Parser

Row = tuple[str, ...]


def _openai_and_embedded() -> Iterator[Row]:
    """A row of cells for each of OpenAI's, and for glyph-clip."""
    for name in (*known.OPENAI, spec.EMBEDDED):
        kinds, _ = lookup.kinds_and_layers(name) or (spec.Kinds(), None)
        is_own = name == spec.EMBEDDED
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


def _fits(name: str, word: str) -> bool:
    """Return True if a name contains a word or fits a pattern, in any case, or is OpenAI's own name of the word."""
    if any(sign in word for sign in "*?["):
        return any(fnmatchcase(text.lower(), word.lower()) for text in (name, name.replace("/", "-")))
    return word.lower() in name.lower() or name == known.plain(word)


def lines(word: str = "") -> list[str]:
    """Return the report: a table of the names that a word or a pattern fits, and counts.

    Raises:
        UserError: if no name fits.
    """
    rows = [*_openai_and_embedded()]
    try:
        rows += _of_open_clip()
        source = f"The list includes the pretrained tags of open_clip {package.open_clip().__version__}."
    except UserError as error:
        source = f"The pretrained tags of open_clip are not included: {error}"
    shown = [row for row in rows if _fits(row[0], word)]
    if not shown:
        near = nearest(word.strip("*"), [row[0] for row in rows]) or "."
        raise UserError(f"modprompt backbones: no CLIP name contains or matches {word!r}{near}")
    table = [("name", "from", "activation", "pixels", "runs"), *shown]
    widths = [max(map(len, column)) for column in zip(*table)]
    runs = ", ".join(f"{what} ({counted(count, 'model')})" for what, count in Counter(row[-1] for row in rows).items())
    return [
        *("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in table),
        "",
        f"{len(rows)} CLIP models can be selected by name. Supported methods: {runs}. {source}",
        "The tests of modprompt run glyph-clip. The tests do not load the real weights of any other model.",
    ]


def main(argv: Sequence[str] | None = None) -> int:
    """Print the report; exit code 0. UserError if no name contains the word."""
    parser = Parser(__doc__)
    parser.add_argument(
        "word",
        nargs="?",
        default="",
        metavar="WORD",
        help="list only the names that contain this word or match this pattern (default: all names)",
    )
    print("\n".join(lines(parser.parse_args(argv).word)))
    return 0
