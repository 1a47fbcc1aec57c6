"""Flags and options added for a program that needs more than the family's flags, by rows.yaml."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from modprompt.errors import UserError
from modprompt.io.records import read_yaml
from modprompt.io.settings import read_settings

_ROWS = Path(__file__).with_name("rows.yaml")


class Row(NamedTuple):
    """A row of rows.yaml, which explains each field."""

    of: str
    has: str
    why: str
    trainer: str = ""
    flags: dict[str, str | None] = {}
    pairs: dict[str, str] = {}


class More(NamedTuple):
    """A program's words with what its rows add, the addition as a user would type it, and why."""

    words: list[str]
    added: str = ""
    why: str = ""


def rows_of(program: bytes) -> list[Row]:
    """The rows for a program, by its content; none if it needs nothing more."""
    content: Any = read_yaml(_ROWS)
    return [row for row in (Row(**row) for row in content) if row.has.encode() in program]


def with_rows(words: Sequence[str], program: Path, trainer: str) -> More:
    """A program's words (flags, then KEY VALUE pairs) with what our trainer in them needs; what was given stays."""
    more = More([*words])
    for row in rows_of(program.read_bytes()):
        whole, added = _with_row(more.words, row, trainer, program.parent)
        if added:
            more = More(whole, f"{more.added} {added}".strip(), ", and ".join(filter(None, [more.why, row.why])))
    return more


def _with_row(words: Sequence[str], row: Row, trainer: str, folder: Path) -> tuple[list[str], str]:
    given = {word.partition("=")[0] if word.startswith("--") else word for word in words}
    flags: list[str] = []
    for name, value in row.flags.items():
        if name not in given:
            flags += [name] if value is None else [name, value.format(dataset=_dataset_of(words, folder))]
    named, instead, pairs = [*words], "", dict(row.pairs)
    if row.trainer:
        for at, (before, word) in enumerate(zip(["", *words], words)):
            if before == "--trainer" or word.startswith("--trainer="):
                named[at] = row.trainer if before == "--trainer" else f"--trainer={row.trainer}"
                instead = f"--trainer {row.trainer}" if named[at] != word else ""
        pairs["TRAINER.NAME"] = trainer  # pairs are merged after the program's check of the flag
    behind = [word for key, value in pairs.items() if key not in given for word in (key, value)]
    added = " ".join(filter(None, [*(word or "''" for word in flags), instead, *behind]))
    return [*flags, *named, *behind], added


def _dataset_of(words: Sequence[str], folder: Path) -> str:
    """DATASET.NAME of the data set's config file among words; empty if there is none that can be read."""
    path = next((after for word, after in zip(words, words[1:]) if word == "--dataset-config-file"), "")
    try:
        return str(read_settings(str(folder / path)).get("DATASET.NAME", "")) if path else ""
    except UserError:  # the program's own message
        return ""
