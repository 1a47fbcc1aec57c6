"""Tokenizers from a CLIP's own files, run by transformers: SigLIP's, Gemma's, BERT's, RoBERTa's, NLLB's, others."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from modprompt.clip import open_clips
from modprompt.clip.tokenizers import TokenizerFacts, TooLong, require_text
from modprompt.errors import UserError
from modprompt.programs import one_line

CARRIERS = (  # one of these must be there: it has the words
    "tokenizer.json", "spiece.model", "sentencepiece.bpe.model", "tokenizer.model", "vocab.txt", "vocab.json",
)  # fmt: skip
SETTINGS = ("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "merges.txt")
CONFIG = "config.json"  # says the kind if the settings do not


class TokenizerPlan(NamedTuple):
    """How a CLIP's files are used."""

    length: int  # ids of a text
    cleaning: str  # open_clip's name of it
    vocabulary: int  # number of embeddings
    zero_end: bool = False  # the end id is written as 0 (CLIPA)
    padding: int | None = None  # an id that the text side looks for, as `end`; None if it looks for none
    end: int | None = None
    language: str = ""  # of the texts, for tokenizers that mark it


def wanted(there: Sequence[str]) -> list[str]:
    """A repository's files that make up its tokenizer; UserError if it has none."""
    if not any(one in there for one in CARRIERS):
        raise UserError(f"it has no tokenizer: none of {', '.join(CARRIERS)}")
    return [one for one in (*CARRIERS, *SETTINGS, CONFIG) if one in there]


class FileTokenizer:
    """A tokenizer from files in a folder; a Tokenizer (tokenizers.py). No code in it is run, nothing is downloaded.

    Raises UserError if transformers is missing, the files are no tokenizer, or they are not the CLIP's.
    """

    def __init__(self, folder: Path, plan: TokenizerPlan):
        clean = open_clips.package().tokenizer.get_clean_fn
        package = open_clips.transformers()
        self._zeroed: int | None = None
        try:
            self._clean = clean(plan.cleaning)
            self._tokenizer = package.AutoTokenizer.from_pretrained(
                str(folder), local_files_only=True, trust_remote_code=False, clean_up_tokenization_spaces=False
            )
            if plan.language:
                self._tokenizer.set_src_lang_special_tokens(plan.language)
            ends = self._ids("", special=True)
        except Exception as error:  # of many kinds, on unknown files
            raise UserError(f"{folder} has no tokenizer that can be read ({one_line(error)[:160]})") from None
        padding = self._tokenizer.pad_token_id
        if padding is None or not ends:
            raise UserError(f"{folder}: this tokenizer has no {'end' if padding is not None else 'padding'} token")
        if plan.zero_end:
            self._zeroed = ends[-1]
        end, kind = 0 if plan.zero_end else ends[-1], type(self._tokenizer).__name__
        kind = str(self._tokenizer.init_kwargs.get("tokenizer_class") or kind)
        kind = kind.replace("Fast", "").replace("Tokenizer", "").lower() or "files"
        self.facts = TokenizerFacts(kind, _sha256(folder), plan.length, padding, end, plan.cleaning)
        self._require_fitting(folder, plan)

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
        require_text(text)
        found = self._tokenizer(self._clean(text), add_special_tokens=special, verbose=False)
        return [0 if one == self._zeroed else int(one) for one in found["input_ids"]]

    def _require_fitting(self, folder: Path, plan: TokenizerPlan) -> None:
        """Raise UserError unless a text side can read these ids."""
        if len(self._tokenizer) > plan.vocabulary:
            raise UserError(
                f"{folder}: this tokenizer has {len(self._tokenizer):,} words, but the CLIP {plan.vocabulary:,} "
                "embeddings: it belongs to another CLIP"
            )
        for what, mine, asked in (("padding", self.facts.padding, plan.padding), ("end", self.facts.end, plan.end)):
            if asked not in (None, mine):
                said = f"the {what} id of this tokenizer is {mine}, but the CLIP looks for {asked}"
                raise UserError(f"{folder}: {said}: it belongs to another CLIP")
        if self._tokenizer.padding_side != "right":
            raise UserError(f"{folder}: this tokenizer pads on the left: only padding after the end is supported")


def _sha256(folder: Path) -> str:
    """Hash of names and contents of the files."""
    digest = hashlib.sha256()
    for name in sorted((*CARRIERS, *SETTINGS)):
        if (folder / name).is_file():
            content = (folder / name).read_bytes()
            digest.update(f"{name} {len(content)}\n".encode() + content)
    return digest.hexdigest()
