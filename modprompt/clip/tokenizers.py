"""From words to token ids: CLIP's byte pairs, or the tokenizer in a CLIP's own files.

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
    """What tells one tokenizer from another; a CLIP only runs with its own."""

    name: str  # "clip" for CLIP's byte pairs, else the kind ("siglip", "bert", ...)
    sha256: str  # of its files; empty for CLIP's, which ships with the package
    length: int  # ids of a text, L
    padding: int  # an id, as `end`
    end: int
    cleaning: str  # what is done to a text first: "lower", "canonicalize" or "whitespace"


CLIP_BPE = "clip"  # the name of CLIP's byte pairs
POSITIONS, VOCABULARY, START, END = 77, 49408, 49406, 49407  # of every CLIP with them


class TooLong(Exception):
    """A text has too many tokens, start and end included."""


class Tokenizer:
    """From texts to ids; a subclass has `facts`, what tells it from others, `_ids` and `word`."""

    facts: TokenizerFacts

    def words(self, text: str) -> list[int]:
        """Ids of the words of a text, without start, end and padding; UserError if it is not valid UTF-8."""
        return self._ids(_utf8(text), special=False)

    def row(self, text: str) -> list[int]:
        """All L ids of a text: start (if there is one), words, end, padding. Nothing is cut off.

        Raises TooLong if they are more than L, and as words.
        """
        ids = self._ids(_utf8(text), special=True)
        if len(ids) > self.facts.length:
            raise TooLong
        return ids + [self.facts.padding] * (self.facts.length - len(ids))

    def word(self, number: int) -> str:
        """What an id stands for, readable, and which part of a word it is; empty for none."""
        raise NotImplementedError

    def _ids(self, text: str, special: bool) -> list[int]:
        raise NotImplementedError


def _utf8(text: str) -> str:
    if not is_text(text):
        raise UserError(f"The text {text!r} is not valid UTF-8. Start Python with PYTHONUTF8=1, or in a UTF-8 locale.")
    return text


class ClipTokenizer(Tokenizer):
    """CLIP's byte pairs, which the `clip` package has; `length` ids of a text."""

    def __init__(self, length: int = POSITIONS):
        self.facts = TokenizerFacts(CLIP_BPE, "", length, 0, END, "lower")

    def word(self, number: int) -> str:
        """The word of an id, or "part-" for a part of one; as Tokenizer."""
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
    """A tokenizer of L = length ids from a folder's files (SigLIP's, Gemma's, BERT's, ...), run by transformers.

    No code in the folder is run, nothing is downloaded. `clean` is open_clip's name of what is done to a text first,
    `language` for tokenizers that mark it; `strip_sep_token` writes the end id as 0 (CLIPA). Raises UserError if a
    package is missing, or the files are no tokenizer with an end, and padding behind it.
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
        """The piece of an id, with the marks of its kind; as Tokenizer."""
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
    """Hash of names and contents of the files."""
    digest = hashlib.sha256()
    for name in sorted((*CARRIERS, *SETTINGS)):
        if (folder / name).is_file():
            content = (folder / name).read_bytes()
            digest.update(f"{name} {len(content)}\n".encode() + content)
    return digest.hexdigest()
