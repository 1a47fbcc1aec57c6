"""Tokenizers: the byte-pair encoding of CLIP, and tokenizers in the files of other CLIP models.

Shapes: L ids of a text.
"""

import hashlib
from pathlib import Path
from typing import Any, NamedTuple

from modprompt.clip import package
from modprompt.clip.package import import_clip
from modprompt.errors import UserError
from modprompt.io.text import is_text
from modprompt.programs import one_line


class TokenizerFacts(NamedTuple):
    """Information that identifies a tokenizer."""

    name: str  # "clip" for CLIP's byte pairs, else the kind ("siglip", "bert", ...)
    sha256: str  # of its files; empty for CLIP's, which ships with the package
    length: int  # ids of a text, L
    padding: int  # an id, as `end`
    end: int
    cleaning: str  # what is done to a text first: "lower", "canonicalize" or "whitespace"


CLIP_BPE = "clip"  # the name of CLIP's byte pairs
POSITIONS, VOCABULARY, START, END = 77, 49408, 49406, 49407  # of every CLIP with them


class TooLong(Exception):
    """A text has too many tokens, including start and end."""


class Tokenizer:
    """Base class of tokenizers; a subclass defines `facts`, `_ids` and `word`."""

    facts: TokenizerFacts

    def words(self, text: str) -> list[int]:
        """Return the ids of a text without start, end and padding; raise UserError if the text is not valid UTF-8."""
        return self._ids(_utf8(text), special=False)

    def row(self, text: str) -> list[int]:
        """Return all L ids of a text: start (if there is one), words, end and padding.

        Raises:
            TooLong: if the text has more than L ids.
            UserError: if the text is not valid UTF-8.
        """
        ids = self._ids(_utf8(text), special=True)
        if len(ids) > self.facts.length:
            raise TooLong
        return ids + [self.facts.padding] * (self.facts.length - len(ids))

    def word(self, number: int) -> str:
        """Return a readable text for an id that shows whether it is a part of a word, or "" for none."""
        raise NotImplementedError

    def _ids(self, text: str, special: bool) -> list[int]:
        raise NotImplementedError


def _utf8(text: str) -> str:
    if not is_text(text):
        raise UserError(f"The text {text!r} is not valid UTF-8. Start Python with PYTHONUTF8=1, or in a UTF-8 locale.")
    return text


class ClipTokenizer(Tokenizer):
    """The byte-pair encoding of the `clip` package, with `length` ids per text."""

    def __init__(self, length: int = POSITIONS):
        self.facts = TokenizerFacts(CLIP_BPE, "", length, 0, END, "lower")

    def word(self, number: int) -> str:
        """Return the word of an id, or "part-" for a part of a word."""
        tokenizer = import_clip()._tokenizer
        piece = tokenizer.decoder.get(number, "")
        text = str(tokenizer.decode([number])) if piece else ""
        if number >= START or not piece:
            return text
        return text[:-1] if piece.endswith("</w>") else text + "-"

    def _ids(self, text: str, special: bool) -> list[int]:
        ids: list[int] = import_clip()._tokenizer.encode(text)
        return [START, *ids, END] if special else ids


CARRIERS = (  # one of these must be there: it has the words
    "tokenizer.json", "spiece.model", "sentencepiece.bpe.model", "tokenizer.model", "vocab.txt", "vocab.json",
)  # fmt: skip
SETTINGS = ("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "merges.txt")


class FileTokenizer(Tokenizer):
    """A tokenizer in the files of a folder, which is run by transformers. No code in the folder is run.

    Args:
        folder: the folder.
        length: L, the number of ids per text.
        clean: the name that open_clip has for the preprocessing of texts.
        language: the language, for tokenizers that mark it.
        strip_sep_token: whether the end id is written as 0 (CLIPA).

    Raises:
        UserError: if a package is missing, or the files do not contain a tokenizer with an end id followed by padding.
    """

    def __init__(
        self,
        folder: Path,
        length: int,
        clean: str = "whitespace",
        strip_sep_token: bool = False,
        language: str | None = None,
    ):
        package.transformers()
        kind, safe = package.open_clip().tokenizer.HFTokenizer, {"local_files_only": True, "trust_remote_code": False}
        self._zeroed: int | None = None
        try:
            read = kind(str(folder), clean=clean, language=language, clean_up_tokenization_spaces=False, **safe)
            self._clean, self._tokenizer = read.clean_fn, read.tokenizer
            ends = self._ids("", special=True)
        except Exception as error:  # of many kinds, on unknown files
            raise UserError(
                f"The tokenizer in {folder} cannot be read ({one_line(error)[:160]}). Download its files again."
            ) from None
        padding = self._tokenizer.pad_token_id
        if padding is None or not ends or self._tokenizer.padding_side != "right":
            raise UserError(
                f"The tokenizer in {folder} is not supported, because it has no end token or no padding token, or "
                "pads on the left."
            )
        self._zeroed, end = (ends[-1], 0) if strip_sep_token else (None, ends[-1])
        name = str(self._tokenizer.init_kwargs.get("tokenizer_class") or type(self._tokenizer).__name__)
        name = name.replace("Fast", "").replace("Tokenizer", "").lower() or "files"
        self.facts = TokenizerFacts(name, _sha256(folder), length, padding, end, clean)

    def __deepcopy__(self, memo: Any) -> "FileTokenizer":
        return self  # it never changes, and is large

    def word(self, number: int) -> str:
        """Return the piece of a word of an id, with the marks of the tokenizer."""
        return str(self._tokenizer.convert_ids_to_tokens(number) or "")

    def _ids(self, text: str, special: bool) -> list[int]:
        found = self._tokenizer(self._clean(text), add_special_tokens=special, verbose=False)
        return [0 if one == self._zeroed else int(one) for one in found["input_ids"]]

    def require_fitting(self, where: str, vocabulary: int, padding: int | None, end: int | None) -> None:
        """Raise UserError unless a text side of so many embeddings, that looks for these ids, if any, reads it."""
        mine, size = (self.facts.padding, self.facts.end), len(self._tokenizer)
        if size > vocabulary or any(asked not in (None, one) for asked, one in zip((padding, end), mine)):
            looks = f"{vocabulary:,} token embeddings, padding id {padding} and end id {end}"
            has = f"{size:,} tokens, padding id {mine[0]} and end id {mine[1]}"
            raise UserError(
                f"{where}: the text encoder has {looks}, but the tokenizer has {has}. Use the tokenizer that belongs "
                "to this CLIP model."
            )


def _sha256(folder: Path) -> str:
    """Return a hash of the names and contents of the files."""
    digest = hashlib.sha256()
    for name in sorted((*CARRIERS, *SETTINGS)):
        if (folder / name).is_file():
            content = (folder / name).read_bytes()
            digest.update(f"{name} {len(content)}\n".encode() + content)
    return digest.hexdigest()
