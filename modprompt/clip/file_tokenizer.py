"""Tokenizers from a CLIP's own files, run by transformers: SigLIP's, Gemma's, BERT's, RoBERTa's, NLLB's, others."""

import contextlib
import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from modprompt.clip import tower_packages
from modprompt.clip.tokenizers import TokenizerFacts, TooLong
from modprompt.errors import UserError
from modprompt.io.safe_open import read_bytes
from modprompt.io.text import is_text
from modprompt.programs import one_line

CARRIERS = (  # one of these must be there: it has the words
    "tokenizer.json", "spiece.model", "sentencepiece.bpe.model", "tokenizer.model", "vocab.txt", "vocab.json",
)  # fmt: skip
SETTINGS = ("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "merges.txt")
CONFIG = "config.json"  # says the kind if the settings do not
CLEANINGS = ("canonicalize", "lower", "whitespace")
NO_CLEANING = "none"


class TokenizerPlan(NamedTuple):
    """How a CLIP's files are used.

    length: ids of a text.
    cleaning: one of CLEANINGS, as in open_clip, or NO_CLEANING.
    zero_end: whether the end id is written as 0 (CLIPA).
    vocabulary: number of embeddings.
    padding, end: ids that the text side looks for; None if it looks for none.
    """

    length: int
    cleaning: str
    vocabulary: int
    zero_end: bool = False
    padding: int | None = None
    end: int | None = None


def wanted(there: Sequence[str]) -> list[str]:
    """A repository's files that make up its tokenizer.

    Raises:
        UserError: if it has no tokenizer.
    """
    if not any(one in there for one in CARRIERS):
        raise UserError(f"it has no tokenizer: none of {', '.join(CARRIERS)}")
    return [one for one in (*CARRIERS, *SETTINGS, CONFIG) if one in there]


class FileTokenizer:
    """A tokenizer from files in a folder; a Tokenizer (tokenizers.py).

    Args:
        folder: of its files.
        plan: how they are used.

    Raises:
        UserError: if transformers is missing, the files are no tokenizer, or they are not the CLIP's.
    """

    def __init__(self, folder: Path, plan: TokenizerPlan):
        self._folder = folder
        self._clean = _cleaning(plan.cleaning)
        self._zeroed: int | None = None
        with _refusals(folder):
            _require_bounded(folder, plan.vocabulary)
            self._tokenizer = _read(folder)
            ends = self._ids("", special=True)
        padding = self._tokenizer.pad_token_id
        if padding is None or not ends:
            raise UserError(f"{folder}: this tokenizer has no {'end' if padding is not None else 'padding'} token")
        if plan.zero_end:
            self._zeroed = ends[-1]
        self.facts = TokenizerFacts(
            _kind(folder, self._tokenizer),
            _sha256(folder),
            plan.length,
            padding,
            0 if plan.zero_end else ends[-1],
            plan.cleaning,
        )
        self._require_fitting(plan)

    def __deepcopy__(self, memo: Any) -> "FileTokenizer":
        return self  # it never changes, and is large

    def words(self, text: str) -> list[int]:
        """Ids of the words of a text; as Tokenizer."""
        return self._ids(text, special=False)

    def row(self, text: str) -> list[int]:
        """All ids of a text; as Tokenizer."""
        ids = self._ids(text, special=True)
        if len(ids) > self.facts.length:
            raise TooLong
        return ids + [self.facts.padding] * (self.facts.length - len(ids))

    def word(self, number: int) -> str:
        """The piece of an id, with the marks of its kind; as Tokenizer."""
        return str(self._tokenizer.convert_ids_to_tokens(number) or "")

    def _ids(self, text: str, special: bool) -> list[int]:
        if not is_text(text):
            raise UserError(f"{text!r} is not UTF-8 text: start Python with PYTHONUTF8=1, or in a UTF-8 locale")
        found = self._tokenizer(self._clean(text), add_special_tokens=special, verbose=False)
        return [0 if one == self._zeroed else int(one) for one in found["input_ids"]]

    def _require_fitting(self, plan: TokenizerPlan) -> None:
        """Raise UserError unless a text side can read these ids."""
        folder = self._folder
        if len(self._tokenizer) > plan.vocabulary:
            raise UserError(
                f"{folder}: this tokenizer has {len(self._tokenizer):,} words, but the CLIP {plan.vocabulary:,} "
                "embeddings: it belongs to another CLIP"
            )
        for what, mine, asked in (
            ("padding", self.facts.padding, plan.padding),
            ("end", self.facts.end, plan.end),
        ):
            if asked is not None and mine != asked:
                raise UserError(
                    f"{folder}: the {what} id of this tokenizer is {mine}, but the CLIP looks for {asked}: it "
                    "belongs to another CLIP"
                )
        if self._tokenizer.padding_side != "right":
            raise UserError(f"{folder}: this tokenizer pads on the left: only padding after the end is supported")


def _read(folder: Path) -> Any:
    package = tower_packages.transformers()
    with tower_packages.quiet():
        return package.AutoTokenizer.from_pretrained(
            str(folder), local_files_only=True, trust_remote_code=False, clean_up_tokenization_spaces=False
        )


@contextlib.contextmanager
def _refusals(folder: Path) -> Iterator[None]:
    """In this context all errors of the package on unknown files become one message."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"{folder} has no tokenizer that can be read ({one_line(error)[:160]})") from None


def _require_bounded(folder: Path, vocabulary: int) -> None:
    """Raise UserError on more extra words than a CLIP has embeddings: the package would make each of them."""
    path = folder / SETTINGS[0]
    # most of these files have a number of 100 bits, for "no limit", that our own reader refuses
    extra = json.loads(read_bytes(path)).get("extra_ids", 0) if path.is_file() else 0
    if not isinstance(extra, int) or not 0 <= extra <= vocabulary:
        raise UserError(f"{path}: extra_ids is {str(extra)[:40]}, but the CLIP has {vocabulary:,} embeddings")


def _cleaning(name: str) -> Callable[[str], str]:
    """open_clip's cleaning of a text."""
    if name == NO_CLEANING:
        return str
    found: Callable[[str], str] = tower_packages.open_clip().tokenizer.get_clean_fn(name)
    return found


def _kind(folder: Path, tokenizer: Any) -> str:
    """A tokenizer's name in records: from the class that its files name."""
    name = str(tokenizer.init_kwargs.get("tokenizer_class") or type(tokenizer).__name__)
    return name.replace("Fast", "").replace("Tokenizer", "").lower() or "files"


def _sha256(folder: Path) -> str:
    """Hash of names and contents of the files."""
    digest = hashlib.sha256()
    for name in sorted((*CARRIERS, *SETTINGS)):
        if (folder / name).is_file():
            content = read_bytes(folder / name)
            digest.update(f"{name} {len(content)}\n".encode() + content)
    return digest.hexdigest()
