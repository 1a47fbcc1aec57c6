"""What a context starts from: words, random vectors, or placeholders.

Shapes: n context tokens, C classes, T text width.
"""

import itertools
import warnings
from typing import NamedTuple

import torch
from torch import Tensor, nn

from modprompt.checks import at_least
from modprompt.clip.tokenizers import Tokenizer
from modprompt.clip.tokens import readable
from modprompt.clip.towers import CLIP, text_width, token_table, tokenizer_of
from modprompt.errors import SettingError

PLACEHOLDER = "X"  # in the place of a vector
LONGEST_FROM_WORDS = 4  # MaPLe and its relatives start from words only up to this many tokens


def leading_placeholders(text: str, most: int) -> int:
    """How many placeholders a text begins with, counted up to `most`."""
    return len(list(itertools.takewhile(PLACEHOLDER.__eq__, text.split()[:most])))


class Context(NamedTuple):
    """The words in front of a class name, and the initial vectors (n, T), or (C, n, T), of their first n tokens.

    words: the words in front of it, without placeholders, for when no vector takes the place of a word.
    ending: the words after it.
    """

    prefix: str
    vectors: Tensor
    words: str
    ending: str = "."

    @property
    def n_ctx(self) -> int:
        """Number of context tokens."""
        return self.vectors.shape[-2]

    def around(self, among_words: int) -> tuple[str, str]:
        """The words in front of a class name and after it, where `among_words` vectors take the place of words."""
        return (self.prefix if among_words or not self.n_ctx else self.words), self.ending

    def within(self, template: str, tokenizer: Tokenizer, name: str = "N_CTX") -> "Context":
        """The same vectors within the words of a template, in which {} is the class name.

        The vectors replace the first words; "X" at the beginning stands for as many of them as there are.

        Raises:
            SettingError: if a template has fewer words in front of the name than there are vectors (setting `name`).
        """
        front, _, ending = template.partition("{}")
        words = front.split()
        fixed = list(itertools.dropwhile(PLACEHOLDER.__eq__, words))
        prefix = " ".join(words if fixed == words else [PLACEHOLDER] * self.n_ctx + fixed)
        there = len(tokenizer.words(prefix))
        if self.n_ctx > there:
            text = (
                f" must be at most {there}, the number of tokens before the class name in {template!r}, got "
                f"{self.n_ctx}. A longer context would replace the class name."
            )
            raise SettingError([(name, text)])
        return Context(prefix, self.vectors, " ".join(fixed), ending)


def _of_prefix(prefix: str, n_ctx: int, clip_model: CLIP, words: str | None = None) -> Context:
    ids = torch.tensor(tokenizer_of(clip_model).words(prefix)[:n_ctx], dtype=torch.long)
    with torch.no_grad():
        vectors = token_table(clip_model)(ids).type(clip_model.dtype)
    return Context(prefix, vectors, prefix if words is None else words)


def no_context(words: str, clip_model: CLIP) -> Context:
    """Fixed words, nothing to learn."""
    words = readable(words)
    return Context(words, torch.empty(0, text_width(clip_model), dtype=clip_model.dtype), words)


def from_words(words: str, n_ctx: int, clip_model: CLIP, name: str = "N_CTX") -> Context:
    """The embeddings of the first `n_ctx` tokens of `words`.

    Raises:
        UserError: if `n_ctx` is less than 1 or more than `words` has tokens: the context would replace the class name.
    """
    at_least(name, n_ctx, 1)
    words = readable(words)
    there = len(tokenizer_of(clip_model).words(words))
    if n_ctx > there:
        text = (
            f" must be at most {there}, the number of tokens of CTX_INIT {words!r}, got {n_ctx}. A "
            f"longer context would replace the class name. Reduce {name}, or use a longer CTX_INIT."
        )
        raise SettingError([(name, text)])
    return _of_prefix(words, n_ctx, clip_model)


def random_context(n_ctx: int, clip_model: CLIP, n_cls: int | None = None, name: str = "N_CTX") -> Context:
    """Normal vectors, std 0.02, one set for all classes or with `n_cls` one for each; drawn in the model's type.

    Raises:
        UserError: if `n_ctx` is less than 1.
    """
    at_least(name, n_ctx, 1)
    shape = (n_ctx, text_width(clip_model))
    vectors = torch.empty(*(shape if n_cls is None else (n_cls, *shape)), dtype=clip_model.dtype)
    nn.init.normal_(vectors, std=0.02)
    return Context(" ".join([PLACEHOLDER] * n_ctx), vectors, "")


def words_or_random(words: str, n_ctx: int, clip_model: CLIP, name: str = "N_CTX") -> Context:
    """MaPLe's rule (arXiv 2210.03117): from `words` if there are any and n_ctx is at most 4, else random.

    Warns of words that are not used because n_ctx is larger.

    Raises:
        UserError: as from_words and random_context; `name` is the setting that n_ctx comes from.
    """
    if readable(words) and n_ctx <= LONGEST_FROM_WORDS:
        return from_words(words, n_ctx, clip_model, name)
    if readable(words):
        warnings.warn(
            f"CTX_INIT is ignored and the context starts from random vectors, because {name} is {n_ctx}. Words can "
            f"only initialize a context of at most {LONGEST_FROM_WORDS} tokens.",
            stacklevel=2,
        )
    return random_context(n_ctx, clip_model, name=name)


def zeros_and_words(words: str, n_ctx: int, clip_model: CLIP, name: str = "N_CTX") -> Context:
    """ProGrad's (arXiv 2205.14865): `n_ctx` zeros, of which the last become the embeddings of the words' tokens.

    Only as many tokens as there are words: a comma is one more, and the last ones then stay after the context, fixed.

    Raises:
        UserError: if there are more words than `n_ctx`.
    """
    words = readable(words)
    many = len(words.split())
    if many > n_ctx:
        text = f" must be at least {many}, the number of words of {words!r}, got {n_ctx}."
        raise SettingError([(name, text)])
    start = _of_prefix(words, many, clip_model)
    zeros = start.vectors.new_zeros(n_ctx - many, start.vectors.shape[-1])
    return Context(" ".join(["X"] * (n_ctx - many) + [words]), torch.cat([zeros, start.vectors]), words)


def placeholders(words: str, n_ctx: int, clip_model: CLIP) -> Context:
    """MPL's: `n_ctx` times "X" in front of `words`; the context starts from the embedding of "X".

    Raises:
        UserError: if `n_ctx` is less than 1.
    """
    at_least("N_CTX", n_ctx, 1)
    words = readable(words)
    return _of_prefix(" ".join([PLACEHOLDER] * n_ctx + [words]).strip(), n_ctx, clip_model, words)
